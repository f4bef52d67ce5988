"""``anomaly-vae push``: what it prints, and what it refuses; see tests/remote/test_transfer.py for what it does."""

from __future__ import annotations

import shutil

from anomaly_vae.bundle.files import read_bundle
from tests.support.attacks import edit
from tests.support.command_line import in_process, one_line


def test_a_model_is_pushed_to_a_folder_of_models(model_path, tmp_path):
    target = tmp_path / "models" / "fraud" / "4"
    digest = read_bundle(model_path).digest
    done = in_process("push", model_path, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{target}: written, ")
    assert done.stdout.endswith(f" bytes, digest {digest}\n")
    assert read_bundle(target).digest == digest
    assert in_process("push", model_path, target).stdout == f"{target}: was there already, digest {digest}\n"
    assert in_process("push", model_path, target, "--quiet").stdout == ""


def test_what_cannot_be_pushed_is_refused_in_one_line(model_path, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("x\n1\n")
    one_line(in_process("push", table, "s3://models/fraud/4"), 2, "is a table", "anomaly-vae push MODEL s3://models")
    one_line(in_process("push", tmp_path / "none", "s3://models/fraud/4"), 3, "no model bundle there")
    one_line(in_process("push", model_path, "http://example.com/m"), 2, "use https")
    one_line(in_process("push", model_path, "s3://key:secret@models/4"), 2, "no user names and secrets in a URL")


def test_a_model_that_scores_otherwise_than_at_training_is_not_pushed(model_path, tmp_path):
    """Its files may be intact: this one has another scale than it was trained with."""
    folder = shutil.copytree(model_path, tmp_path / "model")
    edit(lambda manifest: manifest["members"][0]["columns"][0]["transform"].update(scale=123.0))(folder)
    done = in_process("push", folder, tmp_path / "models" / "4")
    one_line(done, 3, "golden")
    assert not (tmp_path / "models").exists()
