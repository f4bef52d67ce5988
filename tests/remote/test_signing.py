"""Signatures by OpenSSF Model Signing, and its own tool as the other side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.remote import signing
from anomaly_vae.remote.keys import make_keys
from anomaly_vae.remote.signatures import verify
from anomaly_vae.remote.signing import sign


def official(*arguments):
    """Run the command line of model_signing."""
    code = "import sys; from model_signing._cli import main; sys.argv[0] = 'model_signing'; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_official_tool_accepts_our_signature_and_we_accept_its(copy, keys):
    private, public = keys
    sign(copy, private)
    signature = copy / "model.sig"
    done = official("verify", "key", copy, "--signature", signature, "--public_key", public)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
    signature.unlink()
    done = official("sign", "key", copy, "--signature", signature, "--private_key", private)
    assert done.returncode == 0, done.stderr
    assert verify(copy, public) == read_bundle(copy).digest


def test_a_signature_goes_with_the_folder_whatever_its_name(copy, keys, tmp_path):
    sign(copy, keys[0])
    moved = shutil.copytree(copy, tmp_path / "another name")
    assert verify(moved, keys[1]) == read_bundle(moved).digest


def test_signing_again_replaces_the_signature(copy, keys, tmp_path):
    other = tmp_path / "other.pem", tmp_path / "other.pub.pem"
    make_keys(*other)
    digest = sign(copy, keys[0])
    assert sign(copy, other[0]) == digest
    assert verify(copy, other[1]) == digest
    with pytest.raises(BundleError, match="signed with another key"):
        verify(copy, keys[1])


def test_nothing_but_the_signature_is_written(copy, keys, files, tmp_path):
    before = {*tmp_path.rglob("*")}
    sign(copy, keys[0])
    assert {*tmp_path.rglob("*")} - before == {copy / "model.sig"}
    assert {path.name: path.read_bytes() for path in copy.iterdir() if path.name != "model.sig"} == files


def test_the_signature_names_no_file_of_this_machine(copy, keys, tmp_path):
    sign(copy, keys[0])
    assert str(tmp_path) not in json.dumps(json.loads((copy / "model.sig").read_bytes()))


def test_a_damaged_bundle_is_not_signed(copy, keys):
    (copy / "noise.npy").write_bytes(b"")
    with pytest.raises(BundleError, match=r"noise\.npy"):
        sign(copy, keys[0])
    assert not (copy / "model.sig").exists()


def test_a_bundle_that_is_changed_meanwhile_is_not_signed(copy, keys, monkeypatch):
    """What was checked must be what is signed."""
    read = signing.read_bundle

    def change_afterwards(folder):
        bundle = read(folder)
        (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b" ")
        return bundle

    monkeypatch.setattr(signing, "read_bundle", change_afterwards)
    with pytest.raises(BundleError, match="changed while it was signed"):
        sign(copy, keys[0])
    assert not (copy / "model.sig").exists()


def test_a_key_that_does_not_fit_is_a_usage_error(copy, keys):
    with pytest.raises(ConfigError, match="this is a public key"):
        sign(copy, keys[1])
