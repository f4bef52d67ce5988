"""Errors of every command: one line on standard error, an exit code, and a traceback only with --verbose."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.command_line import cli, one_line


def test_details_on_demand(folder):
    for flags in (["-v"], ["-qv"], ["--verbose"]):
        assert "Traceback" in cli(folder, "score", "nothing", "new.csv", "-o", "-", *flags).stderr
    assert "Traceback" in cli(folder, "-v", "score", "nothing", "new.csv", "-o", "-").stderr


def test_a_closed_pipe_is_no_traceback(folder):
    command = (
        f"{sys.executable} -m anomaly_vae score model train.csv -o - 2> pipe.log | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert done.returncode in (0, 141)  # 0 where all rows fit into the pipe
    assert "Traceback" not in (folder / "pipe.log").read_text()


@pytest.mark.parametrize("redirect", ["-o - >&-", "-o out.csv <&-"])
def test_a_closed_standard_stream_is_explained(folder, redirect):
    source = "new.csv" if ">" in redirect else "-"
    command = f"{sys.executable} -m anomaly_vae score model {source} {redirect}"
    one_line(
        subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False), 2, "is closed"
    )


def test_calibrating_and_scoring_need_no_training_library(folder, tmp_path):
    """With torch, scipy, scikit-learn and onnx not installed, everything but train and demo works."""
    blocked = ("torch", "scipy", "sklearn", "onnx", "onnxscript", "matplotlib", "pandas")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    for command in (
        ("score", "model", "new.csv", "-o", tmp_path / "out.csv"),
        ("calibrate", "model", "train.csv", "-o", tmp_path / "new", "--target-fpr", "0.05"),
        ("inspect", "model"),
    ):
        done = cli(folder, *command, env=environment)
        assert done.returncode == 0, done.stderr
    one_line(cli(folder, "train", "train.csv", "-o", "x", env=environment), 2, "anomaly_vae[train]")


@pytest.mark.parametrize(
    ("module", "command", "text"),
    [
        ("pyarrow", ["score", "model", "rows.csv", "-o", "out.csv"], "this needs pyarrow, which is not installed"),
        ("msgspec", ["inspect", "model"], "this needs msgspec, which is not installed"),
        ("rich", ["inspect", "model"], "this needs rich, which is not installed"),
    ],
)
def test_a_package_that_is_missing_is_one_line_and_exit_2(model_path, tmp_path, module, command, text):
    """The image of the service has not all that other commands need."""
    (tmp_path / "model").symlink_to(model_path)
    (tmp_path / "rows.csv").write_text("pressure\n1\n")
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv = ['anomaly-vae', *{command!r}]\n"
    code += "from anomaly_vae.cli import main; main()"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith(f"anomaly-vae: error: {text}")
    assert line.endswith("pip install anomaly_vae")
