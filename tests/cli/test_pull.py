"""``anomaly-vae pull``: what it prints, and what it refuses; see tests/remote/test_transfer.py for what it does."""

from __future__ import annotations

import shutil

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.remote.keys import make_keys
from anomaly_vae.remote.signing import sign
from tests.support.command_line import in_process, one_line


def test_a_model_is_pulled_to_a_folder(model_path, tmp_path):
    target, digest = tmp_path / "pulled", read_bundle(model_path).digest
    done = in_process("pull", model_path, "-o", target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{target}: written, ")
    assert done.stdout.endswith(f" bytes, digest {digest}\n")
    assert read_bundle(target).digest == digest
    one_line(in_process("pull", model_path, "-o", target), 2, "exists already", "--overwrite")
    assert in_process("pull", model_path, "-o", target, "--overwrite", "--quiet").stdout == ""


def test_a_pulled_model_is_one_that_was_signed(model_path, tmp_path):
    folder = shutil.copytree(model_path, tmp_path / "model")
    private, public = tmp_path / "release.pem", tmp_path / "release.pub.pem"
    make_keys(private, public)
    one_line(in_process("pull", folder, "-o", tmp_path / "a", "--verify-key", public), 3, "is not signed")
    sign(folder, private)
    done = in_process("pull", folder, "-o", tmp_path / "a", "--verify-key", public)
    assert done.stdout.endswith(f", signed with the key of {public}\n")
    one_line(in_process("pull", folder, "-o", tmp_path / "b", "--verify-key", private), 2, "this is a private key")


def test_storage_that_is_down_is_said_in_one_line(tmp_path):
    done = in_process("pull", "https://127.0.0.1:1/fraud/4", "-o", tmp_path / "a")
    one_line(done, 1, "https://127.0.0.1:1/fraud/4/manifest.json", "refused")
