"""``anomaly-vae sign``: keys and signatures from the command line."""

from __future__ import annotations

import shutil

import pytest

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.cli import reporting
from tests.support.command_line import in_process, one_line


@pytest.fixture
def folder(model_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(model_path, tmp_path / "model")


def test_from_a_new_key_to_a_checked_model(folder, tmp_path, run_cli):
    done = in_process("sign", "--new-key", "release")
    assert done.stdout == "release.pem: private key, keep it secret; release.pub.pem: public key, for --verify-key\n"
    assert (tmp_path / "release.pem").stat().st_mode & 0o777 == 0o600
    done = in_process("sign", "model", "--key", "release.pem")
    assert done.stdout == f"model: signed, digest {read_bundle(folder).digest}\n"
    checks = [["inspect", "model", "--quiet"], ["pull", "model", "-o", "pulled"]]
    (tmp_path / "rows.csv").write_text("pressure,flow,valve,temperature,unit\n1e5,0,1,21,7\n")
    checks.append(["score", "model", "rows.csv", "-o", "scores.csv", "--quiet"])
    for command in checks:
        run_cli(*command, "--verify-key", "release.pub.pem")
    (folder / "encoder.onnx").write_bytes(b"")
    for command in checks:
        more = [] if command[0] == "inspect" else ["--overwrite"]
        done = run_cli(*command, *more, "--verify-key", "release.pub.pem", code=3)
        assert b"encoder.onnx: the file was changed after the bundle was signed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give MODEL and --key, or --new-key NAME"),
        (["model"], "give MODEL and --key"),
        (["--key", "release.pem"], "give MODEL and --key"),
        (["model", "--new-key", "release"], "--new-key makes keys and signs nothing"),
        (["model", "--key", "none.pem"], "none.pem: the key cannot be read"),
        (["rows.csv", "--key", "none.pem"], "is a table"),
    ],
)
def test_wrong_usage_is_said_in_one_line(folder, tmp_path, arguments, text):
    (tmp_path / "rows.csv").write_text("x\n1\n")
    one_line(in_process("sign", *arguments), 2, text)


def test_keys_are_not_replaced(folder, tmp_path):
    in_process("sign", "--new-key", "release")
    key = (tmp_path / "release.pem").read_bytes()
    one_line(in_process("sign", "--new-key", "release"), 2, "release.pem exists already")
    assert (tmp_path / "release.pem").read_bytes() == key


def test_without_the_extra_its_name_is_said(folder, monkeypatch):
    monkeypatch.setattr(reporting, "_SIGNING", ("no_such_module",))
    one_line(
        in_process("sign", "model", "--key", "a.pem"), 2, "install the sign extra: pip install 'anomaly_vae[sign]'"
    )


def test_quiet_prints_nothing(folder):
    assert in_process("sign", "--new-key", "release", "--quiet").stdout == ""
    assert in_process("sign", "model", "--key", "release.pem", "-q").stdout == ""
