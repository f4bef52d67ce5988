"""The command line as a stranger meets it: a process, files, exit codes, one line per error."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import anomaly_vae
from anomaly_vae.scorer import load
from tests.conftest import NAMES, make_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table to train on, with a label, and one to score; a model trained from it by the command line."""
    path = tmp_path_factory.mktemp("cli")
    rows = make_rows(700)
    broken = make_rows(40, seed=1)
    broken[:, 1] += 0.2
    marks = np.repeat([0, 1], [700, 40])
    write_csv(path / "train.csv", np.concatenate([rows, broken]), extra={"broken": marks})
    write_csv(path / "new.csv", make_rows(60, seed=2), extra={"id": [f"r{i}" for i in range(60)]})
    command = ["train", "train.csv", "-o", "model", "--label", "broken", "--max-steps", "400", "--target-fpr", "0.05"]
    done = cli(path, *command, "--search", "off")
    assert done.returncode == 0, done.stderr
    (path / "train.log").write_text(done.stderr)
    return path


def cli(path, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "anomaly_vae", *map(str, arguments)],
        cwd=path, capture_output=True, text=True, timeout=300, check=False, **options,
    )  # fmt: skip


def write_csv(path, rows, extra=None, names=NAMES):
    extra = extra or {}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *extra])
        writer.writerows([*map(repr, map(float, row)), *more] for row, *more in zip(rows, *extra.values(), strict=True))


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def one_line(done, code, *parts):
    """The process failed as promised: the code, one line, everything named."""
    assert done.returncode == code, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("anomaly-vae: error: "), done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in line, line


def test_train_reports_what_it_did(folder):
    log = (folder / "train.log").read_text()
    assert re.search(
        r"trained on 490 rows of 5 columns \(4 continuous, 1 constant\), best at step \d+ of \d+: held-out ELBO", log
    )
    assert re.search(r"threshold -?[\d.]+ nats from 140 calibration rows, false-positive rate at most 0.04965", log)
    auroc = float(re.search(r"AUROC ([\d.]+), average precision [\d.]+ \(140 calibration rows against 40 rows", log)[1])
    assert auroc > 0.95


def test_scores_of_the_command_line_are_those_of_python_bit_for_bit(folder):
    """CSV in, CSV out: Python's float reads back exactly the score that the scorer computed."""
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--keep", "id,flow")
    assert done.returncode == 0, done.stderr
    rows = read_csv(done.stdout)
    header = ["id", "flow", "log_px", "elbo", "std_error", "ess_ratio", "p_value", "is_anomaly", "reason"]
    header += ["pareto_k", "reliable", "num_samples", "score"]
    assert list(rows[0]) == header
    expected = load(folder / "model").score(make_rows(60, seed=2))
    for name in ("log_px", "elbo", "std_error", "ess_ratio", "p_value", "score"):
        got = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_array_equal(got, getattr(expected, name), err_msg=name)
    assert [row["is_anomaly"] == "true" for row in rows] == expected.is_anomaly.tolist()
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(60)]
    assert "60 rows, " in done.stderr


def test_parquet_in_and_out_with_columns_in_another_order(folder, tmp_path):
    rows = make_rows(3000, seed=5)
    order = [3, 0, 4, 1, 2]
    pq.write_table(pa.table({NAMES[d]: rows[:, d] for d in order}), tmp_path / "in.parquet", row_group_size=700)
    model = folder / "model"
    done = cli(tmp_path, "score", model, "in.parquet", "-o", "out.parquet", "--num-samples", "64", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "warning: 64 samples a row were asked for, the calibration used 1024" in done.stderr
    out = pq.read_table(tmp_path / "out.parquet")
    with pytest.warns(UserWarning, match="64 samples"):
        expected = load(model).score(rows, num_samples=64)
    np.testing.assert_array_equal(out["log_px"].to_numpy(), expected.log_px)
    assert out["p_value"].null_count == out["is_anomaly"].null_count == 3000
    assert out.schema.field("is_anomaly").type == pa.bool_()


def test_rows_that_cannot_be_scored_come_out_with_a_reason_and_are_counted(folder, tmp_path):
    lines = (folder / "new.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines[:8]]
    cells[2][1] = ""
    cells[3][0] = "high"
    cells[4][3] = "inf"
    cells[5] = cells[5][:2]
    cells[6][4] = "8.0"
    (tmp_path / "in.csv").write_text("\n".join(",".join(row) for row in cells) + "\n")
    done = cli(tmp_path, "score", folder / "model", "in.csv", "-o", "out.csv", "--keep", "id")
    assert done.returncode == 0, done.stderr
    rows = read_csv((tmp_path / "out.csv").read_text())
    assert [row["reason"] for row in rows] == [
        "",
        "",
        "column 'pressure': 'high' is no number",
        "column 'temperature' is infinite",
        "the row has 2 cells, the header 6",
        "column 'unit' was always 7.0 in training, is 8.0",
        "",
    ]
    assert [row["log_px"] == "" for row in rows] == [False, False, True, True, True, False, False]
    assert [row["score"] == row["log_px"] for row in rows] == [True, False, *[True] * 5]  # "flow" is missing in r1
    assert [row["is_anomaly"] for row in rows][4:6] == ["", "true"]
    assert [row["id"] for row in rows] == ["r0", "r1", "r2", "r3", "", "r5", "r6"]
    assert "7 rows" in done.stderr
    assert "3 not scored (1 ragged, 2 unreadable" in done.stderr


def test_another_target_flags_more(folder):
    strict, lax = (
        read_csv(cli(folder, "score", "model", "new.csv", "-o", "-", "--target-fpr", rate).stdout)
        for rate in ("0.01", "0.5")
    )
    flags = [[row["is_anomaly"] for row in rows].count("true") for rows in (strict, lax)]
    assert flags[0] < flags[1]
    assert [float(row["p_value"]) <= 0.5 for row in lax] == [row["is_anomaly"] == "true" for row in lax]


def test_flags_only_are_those_of_a_full_run_with_their_cost(folder):
    full = read_csv(cli(folder, "score", "model", "new.csv", "-o", "-").stdout)
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--flag-only", "--keep", "id")
    flags = read_csv(done.stdout)
    assert list(flags[0]) == ["id", "is_anomaly", "reason", "num_samples"]
    assert [row["is_anomaly"] for row in flags] == [row["is_anomaly"] for row in full]
    assert sum(int(row["num_samples"]) for row in flags) < sum(int(row["num_samples"]) for row in full) / 4
    for options in (["--num-samples", "64"], ["--max-std-error", "0.1"]):
        done = cli(folder, "score", "model", "new.csv", "-o", "-", "--flag-only", *options)
        assert done.returncode == 2
        assert "--flag-only decides at the calibrated budget" in done.stderr


def test_a_wished_error_is_met_with_fewer_samples(folder):
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--max-std-error", "0.2")
    assert "no p-value and no flag" in done.stderr
    rows = read_csv(done.stdout)
    assert all(float(row["std_error"]) <= 0.2 for row in rows)
    assert {row["is_anomaly"] for row in rows} == {""}
    assert min(int(row["num_samples"]) for row in rows) < 512
    for error in ("0", "-1", "nan", "inf"):
        done = cli(folder, "score", "model", "new.csv", "-o", "-", "--max-std-error", error)
        assert done.returncode == 2
        assert "max_std_error must be a positive number of nats" in done.stderr.splitlines()[-1]


def test_standard_input_to_standard_output(folder):
    text = (folder / "new.csv").read_text()
    piped = cli(folder, "score", "model", "-", "-o", "-", input=text)
    assert piped.stdout == cli(folder, "score", "model", "new.csv", "-o", "-").stdout
    assert len(read_csv(piped.stdout)) == 60


def test_extra_columns_are_mentioned_once_or_refused(folder):
    done = cli(folder, "score", "model", "new.csv", "-o", "-")
    assert done.stderr.count("input columns that the model does not know: id; ignored") == 1
    one_line(cli(folder, "score", "model", "new.csv", "-o", "-", "--strict"), 2, "does not know: id", "--strict")


def test_calibrate_writes_a_new_bundle_and_leaves_the_old_one(folder, tmp_path):
    before = (folder / "model" / "manifest.json").read_bytes()
    done = cli(
        folder, "calibrate", "model", "train.csv", "-o", tmp_path / "new", "--target-fpr", "0.02", "--confidence", "0.9"
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "model" / "manifest.json").read_bytes() == before
    old, new = load(folder / "model"), load(tmp_path / "new")
    calibration = new.bundle.manifest.calibration
    assert (calibration.num_rows, calibration.target_fpr, calibration.confidence) == (700, 0.02, 0.9)
    assert calibration.effective_fpr < 0.02
    rows = make_rows(20, seed=8)
    np.testing.assert_array_equal(old.score(rows).log_px, new.score(rows).log_px)
    assert new.threshold == np.sort(new.score(make_rows(700)).score)[calibration.rank - 1]


def test_calibrate_refuses_too_few_rows(folder, tmp_path):
    done = cli(folder, "calibrate", "model", "new.csv", "-o", tmp_path / "new", "--target-fpr", "0.001")
    one_line(done, 2, "60 normal rows", "--target-fpr 0.001", "at least 999")
    done = cli(
        folder, "calibrate", "model", "new.csv", "-o", tmp_path / "new", "--target-fpr", "0.05", "--confidence", "0.99"
    )
    one_line(done, 2, "--confidence 0.99 needs at least 90")
    assert not (tmp_path / "new").exists()


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


def test_inspect_shows_the_model_for_people_and_for_programs(folder):
    text = cli(folder, "inspect", "model").stdout
    for part in ("pressure", "constant", "threshold", "140 rows", "label column", "broken", "16 scramblings"):
        assert part in text
    info = json.loads(cli(folder, "inspect", "model", "--json").stdout)
    assert info["bundle_digest"] == load(folder / "model").bundle.digest
    assert info["schema"]["label"] == "broken"


def test_a_config_file_and_options_that_win_over_it(folder, tmp_path):
    (tmp_path / "c.toml").write_text(
        "latent_dim = 1\nhidden = [8]\nmax_steps = 200\ntarget_fpr = 0.1\nsearch = 'off'\n"
    )
    done = cli(
        tmp_path,
        "train",
        folder / "train.csv",
        "-o",
        "m",
        "--config",
        "c.toml",
        "--latent-dim",
        "3",
        "--exclude",
        "broken,unit",
    )
    assert done.returncode == 0, done.stderr
    (member,) = load(tmp_path / "m").info["members"]
    assert (member["architecture"]["latent_dim"], member["architecture"]["hidden"]) == (3, (8,))
    assert load(tmp_path / "m").schema.names == NAMES[:4]
    for text, part in (("latent_dims = 1", "unknown parameter 'latent_dims'; did you mean 'latent_dim'?"),
                       ("latent_dim = 'x'", "latent_dim must be"), ("latent_dim = ", "not a TOML file"),
                       ("[window]\nlength = 3", "unknown parameter 'window'")):  # fmt: skip
        (tmp_path / "c.toml").write_text(text)
        one_line(cli(tmp_path, "train", folder / "train.csv", "-o", "n", "--config", "c.toml"), 2, part)


BAD_TRAINING = {
    "no such file": (["train", "nothing.csv", "-o", "m"], "nothing.csv: cannot be read"),
    "no such option": (["train", "train.csv", "-o", "m", "--latentdim", "3"], "No such option"),
    "no output": (["train", "train.csv"], "Missing option '-o'"),
    "no such label": (["train", "train.csv", "-o", "m", "--label", "x"], "--label x: the input has no such column"),
    "label not 0/1": (["train", "train.csv", "-o", "m", "--label", "flow"], "expected 0 (normal) or 1 (anomaly)"),
    "label of text": (["train", "new.csv", "-o", "m", "--label", "id"], "expected 0 (normal) or 1 (anomaly)"),
    "not a bundle": (["train", "train.csv", "-o", ".", "--overwrite"], "is no part of a bundle"),
    "no such column": (["train", "train.csv", "-o", "m", "--columns", "flow,x"], "--columns x: the input has no such"),
    "free text": (["train", "new.csv", "-o", "m"], "column 'id' holds 48 different texts in 48 rows, such as 'r"),
    "nothing left": (["train", "new.csv", "-o", "m", "--columns", "id", "--exclude", "id"], "no column is left"),
    "rate": (["train", "train.csv", "-o", "m", "--target-fpr", "1.5"], "--target-fpr"),
    "hidden": (["train", "train.csv", "-o", "m", "--hidden", "a,b"], "--hidden must be widths such as 128,128"),
    "no such folder": (["train", "train.csv", "-o", "no/such/m"], "the folder"),
    "no such command": (["tarin"], "No such command 'tarin'"),
}


@pytest.mark.parametrize("case", BAD_TRAINING)
def test_bad_training_input_is_exit_2_and_one_line(folder, case):
    command, part = BAD_TRAINING[case]
    one_line(cli(folder, *command), 2, part)
    assert not (folder / "m").exists()


BAD_SCORING = {
    "no such model": (["nothing", "new.csv", "-o", "-"], 3, "no model bundle there"),
    "no bundle": ([".", "new.csv", "-o", "-"], 3, "manifest.json is missing"),
    "missing column": (["model", "short.csv", "-o", "-"], 2, "columns are missing: 'unit'"),
    "keep clash": (["model", "new.csv", "-o", "-", "--keep", "reason"], 2, "the output has a column of that name"),
    "keep unknown": (["model", "new.csv", "-o", "-", "--keep", "x"], 2, "no such column"),
    "budget": (["model", "new.csv", "-o", "-", "--num-samples", "1000"], 2, "num_samples must be one of 16, 32"),
    "few rows": (["model", "new.csv", "-o", "-", "--target-fpr", "0.0001"], 2, "needs at least 9999 calibration rows"),
    "ending": (["model", "new.csv", "-o", "out.xlsx"], 2, "ending in .csv or .parquet"),
    "exists": (["model", "new.csv", "-o", "train.csv"], 2, "exists already"),
}


@pytest.mark.parametrize("case", BAD_SCORING)
def test_bad_scoring_input_has_its_exit_code_and_one_line(folder, case):
    arguments, code, part = BAD_SCORING[case]
    (folder / "short.csv").write_text("pressure,flow,valve,temperature\n1,2,3,4\n")
    before = sorted(path.name for path in folder.iterdir())
    one_line(cli(folder, "score", *arguments), code, part)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_rows_with_missing_cells_are_trained_on_and_scored(folder, tmp_path):
    """With the defaults but for the steps. No row is left out for an empty cell; one of nothing else is told apart."""
    lines = (folder / "train.csv").read_text().splitlines()
    gaps = [line.split(",") for line in lines[1:31]]
    for i, cells in enumerate(gaps):
        cells[i % 5] = ""
    text = "\n".join([lines[0], *map(",".join, gaps), *lines[31:]]) + "\n"
    (tmp_path / "t.csv").write_text(text)
    done = cli(tmp_path, "train", "t.csv", "-o", "m", "--label", "broken", "--max-steps", "300", "--target-fpr", "0.1")
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    assert "trained on 490 rows of 5 columns" in done.stderr
    assert len(load(tmp_path / "m").info["members"]) == 2
    (tmp_path / "in.csv").write_text("\n".join([lines[0], *map(",".join, gaps), ",,,,,0"]) + "\n")
    done = cli(tmp_path, "score", "m", "in.csv", "-o", "-")
    assert done.returncode == 0, done.stderr
    rows = read_csv(done.stdout)
    assert all(np.isfinite(float(row["score"])) for row in rows)
    assert np.mean([float(row["p_value"]) for row in rows]) > 0.3
    assert [row["reason"] for row in rows] == [*[""] * 30, "every cell is missing: there is nothing to judge"]
    assert rows[-1]["is_anomaly"] == "false"


def test_unreadable_cells_are_left_out_of_training_with_a_warning(folder, tmp_path):
    (tmp_path / "t.csv").write_text((folder / "train.csv").read_text().replace("\n", "\n1.0,bad,0.1,20.0,7.0,0\n", 2))
    options = ["--max-steps", "200", "--target-fpr", "0.1", "--search", "off"]
    done = cli(tmp_path, "train", "t.csv", "-o", "m", "--label", "broken", *options)
    assert done.returncode == 0, done.stderr
    assert (
        "2 of 742 rows cannot be used and are left out; for example row 1: column 'flow': 'bad' is no number"
        in done.stderr
    )


def test_a_damaged_bundle_is_exit_3(folder, tmp_path):
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "noise.npy").write_bytes(b"")
    one_line(cli(folder, "score", model, "new.csv", "-o", "-"), 3, "noise.npy", "only partly copied")


def test_details_on_demand(folder):
    for flags in (["-v"], ["-qv"], ["--verbose"]):
        assert "Traceback" in cli(folder, "score", "nothing", "new.csv", "-o", "-", *flags).stderr
    assert "Traceback" in cli(folder, "-v", "score", "nothing", "new.csv", "-o", "-").stderr


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def start(path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "anomaly_vae", *map(str, arguments)], cwd=path, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_score_leaves_nothing_behind(folder, tmp_path, number, code):
    rows = make_rows(30_000, seed=3)
    write_csv(tmp_path / "in.csv", rows)
    process = start(tmp_path, "score", folder / "model", "in.csv", "-o", "out.csv")
    wait_for(lambda: list(tmp_path.glob(".out.csv.*.part")))
    process.send_signal(number)
    assert "no unfinished file is left" in process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_the_progress_bar_moves_and_ctrl_c_keeps_the_best_model(folder, tmp_path):
    """On a terminal the bar shows loss, held-out ELBO, KL and reconstruction; none of it reaches standard output."""
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "anomaly_vae", "train", str(folder / "train.csv"), "-o", "m"]
    options = ["--label", "broken", "--max-steps", "1000000"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [*command, *options], cwd=tmp_path, stderr=theirs, stdout=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    seen = ""
    while not re.search(r"loss .*held-out ELBO .*\(best .*KL .*log p\(x\|z\) ", seen):
        seen += os.read(terminal, 4096).decode()
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal closes with the process
        while text := os.read(terminal, 4096).decode():
            seen += text
    assert process.wait(timeout=120) == 130, seen
    assert process.stdout.read() == b""
    process.stdout.close()
    os.close(terminal)
    assert "interrupted; the best model so far was kept" in seen
    assert load(tmp_path / "m").info["training"]["interrupted"]


def test_scoring_imports_no_pandas_and_no_training_library(folder):
    """pandas is installed here, and pyarrow likes to import it: start-up time and memory would double."""
    code = (
        "import sys\n"
        "from anomaly_vae.cli import cli\n"
        "cli.main(['score', 'model', 'new.csv', '-o', '-', '-q', '--keep', 'id'], standalone_mode=False)\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'onnx', 'onnxscript', 'pandas', 'matplotlib', 'grpc'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_csv(done.stdout)) == 60


def test_a_closed_pipe_is_no_traceback(folder):
    command = (
        f"{sys.executable} -m anomaly_vae score model train.csv -o - 2> pipe.log | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert done.returncode in (0, 141)  # 0 where all rows fit into the pipe
    assert "Traceback" not in (folder / "pipe.log").read_text()


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["train"], ["calibrate"], ["score"], ["encode"], ["sample"], ["inspect"]]
)
def test_help_teaches(folder, command):
    text = cli(folder, *command, "--help").stdout
    assert "Usage: anomaly-vae" in text
    assert len(text.splitlines()) > 8
    assert "\\b" not in text
    if command not in (["demo"], ["inspect"]):
        assert re.search(r"^ +(Try it: +)?anomaly-vae [\w .-]+$", text, re.MULTILINE), (
            text
        )  # an example on its own line


def test_no_arguments_teach(folder):
    done = cli(folder)
    assert done.returncode == 2
    assert "Usage: anomaly-vae" in done.stderr
    assert len(done.stderr.splitlines()) > 8


@pytest.mark.parametrize("redirect", ["-o - >&-", "-o out.csv <&-"])
def test_a_closed_standard_stream_is_explained(folder, redirect):
    source = "new.csv" if ">" in redirect else "-"
    command = f"{sys.executable} -m anomaly_vae score model {source} {redirect}"
    one_line(
        subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False), 2, "is closed"
    )


def test_version(folder):
    assert cli(folder, "--version").stdout.strip() == f"anomaly-vae {anomaly_vae.__version__}"


def test_the_demo_runs_and_shows_what_it_promises(tmp_path):
    """Train, calibrate, export, load, score; the table, the figures, the picture, what to type next; no other file."""
    homes = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "temporary"}
    for folder in homes.values():
        folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR" and name[:4] != "XDG_"}
    done = cli(tmp_path, "demo", env=kept | {name: str(folder) for name, folder in homes.items()})
    assert done.returncode == 0, done.stderr
    assert [os.listdir(folder) for folder in homes.values()] == [[], []]
    files = {"train.csv", "held_out.csv", "model", "scores.csv", "scores_over_grpc.csv", "scores.png"}
    assert set(os.listdir(tmp_path / "anomaly-vae-demo")) == files
    text = done.stdout
    for part in ("log p(x) ± error", "p-value", "ANOMALY", "AUROC", "average precision", "false-positive rate", "Next"):
        assert part in text
    assert float(re.search(r"AUROC ([\d.]+)", text)[1]) > 0.9
    picture = (tmp_path / "anomaly-vae-demo" / "scores.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    one_line(cli(tmp_path, "demo"), 2, "anomaly-vae-demo exists already")


def test_an_interrupted_demo_says_so(tmp_path):
    process = start(tmp_path, "demo")
    wait_for(lambda: (tmp_path / "anomaly-vae-demo" / "held_out.csv").exists())
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


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
