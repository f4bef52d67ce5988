"""Whether a bundle is what somebody signed; each attack is refused by the official tool as well."""

from __future__ import annotations

import os
import shutil

import pytest

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.remote.keys import make_keys, read_public_key
from anomaly_vae.remote.signatures import digests_of, read_signature, verify, verify_contents
from anomaly_vae.remote.signing import sign
from tests.support.remote_stores import files_of


@pytest.fixture
def signed(copy, keys):
    sign(copy, keys[0])
    return copy


def officially_refused(folder, public):
    """What model_signing's own verification says; None if it accepts the folder."""
    from model_signing import verifying

    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")
    except Exception as error:  # noqa: BLE001 (it raises errors of many kinds)
        return repr(error)
    return None


def test_a_signed_bundle_has_the_digest_that_was_signed(signed, keys):
    assert verify(signed, keys[1]) == read_bundle(signed).digest
    verify_contents(files_of(signed), read_public_key(keys[1]), "where")
    assert officially_refused(signed, keys[1]) is None


def add_bytes(name):
    def change(folder, _):
        with (folder / name).open("ab") as file:
            file.write(b" ")

    return change


def sign_with_another_key(folder, tmp_path):
    make_keys(tmp_path / "other.pem", tmp_path / "other.pub.pem")
    sign(folder, tmp_path / "other.pem")


ATTACKS = {
    "a changed graph": (add_bytes("encoder.onnx"), r"encoder\.onnx: the file was changed after the bundle was signed"),
    "a changed manifest": (add_bytes("manifest.json"), r"manifest\.json: the file was changed"),
    "a changed checksum": (add_bytes("manifest.sha256"), r"manifest\.sha256: the file was changed"),
    "an added file": (lambda folder, _: (folder / "new").write_bytes(b""), "new: the file was added after"),
    "a removed file": (lambda folder, _: (folder / "noise.npy").unlink(), r"noise\.npy: the file was removed after"),
    "no signature": (lambda folder, _: (folder / "model.sig").unlink(), "model: the bundle is not signed"),
    "another key": (sign_with_another_key, r"model\.sig: signed with another key"),
    "a changed signature": (lambda folder, _: (folder / "model.sig").write_bytes(b"{}"), r"model\.sig: no signature"),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_a_change_after_the_signature_is_refused_and_named(signed, keys, tmp_path, case):
    attack, text = ATTACKS[case]
    attack(signed, tmp_path)
    with pytest.raises(BundleError, match=text):
        verify(signed, keys[1])
    with pytest.raises(BundleError, match=text.replace("model: ", "")):
        verify_contents(files_of(signed), read_public_key(keys[1]), "where")
    assert officially_refused(signed, keys[1])


def test_the_signature_of_another_bundle_is_refused(signed, other_path, keys, tmp_path):
    """It is a right signature, of other bytes."""
    other = shutil.copytree(other_path, tmp_path / "other")
    shutil.copy(signed / "model.sig", other)
    with pytest.raises(BundleError, match=r"other/manifest\.(json|sha256): the file was changed"):
        verify(other, keys[1])
    assert officially_refused(other, keys[1])


@pytest.mark.parametrize("name", ["model.sig", "encoder.onnx"])
def test_files_that_are_no_files_are_never_waited_for(signed, keys, name):
    (signed / name).unlink()
    os.mkfifo(signed / name)
    with pytest.raises(BundleError, match=rf"{name}: is a link or not a regular file"):
        verify(signed, keys[1])


def test_what_systems_leave_in_folders_is_nobodys_signature(signed, keys):
    (signed / ".DS_Store").write_bytes(b"Bud1")
    assert verify(signed, keys[1]) == read_bundle(signed).digest
    assert officially_refused(signed, keys[1]) is None


def test_a_signature_must_cover_the_manifest(signed, keys, monkeypatch):
    from anomaly_vae.remote import signatures

    monkeypatch.setattr(signatures, "signed_digests", lambda *_: {"encoder.onnx": "0" * 64})
    with pytest.raises(BundleError, match=r"it does not cover manifest\.json"):
        digests_of(b"{}", read_public_key(keys[1]), "where")


def test_a_folder_that_does_not_exist_is_no_bundle(tmp_path, keys):
    with pytest.raises(BundleError, match="none: no model bundle there"):
        verify(tmp_path / "none", keys[1])
    with pytest.raises(ConfigError, match="the key cannot be read"):
        verify(tmp_path / "none", tmp_path / "none.pem")


def test_a_signature_is_read_or_absent(signed, model_path):
    assert read_signature(signed) == (signed / "model.sig").read_bytes()
    assert read_signature(model_path) is None
