"""What the files of a bundle must be, wherever their bytes come from."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest

from anomaly_vae.bundle.contents import (
    CHECKSUM,
    EVERY_NAME,
    SIGNATURE,
    check_digest,
    checked_manifest,
    checksum_of,
    file_names,
)
from anomaly_vae.bundle.files import read_bundle, read_files
from anomaly_vae.bundle.manifest import FileRecord
from anomaly_vae.bundle.manifest_json import encode_manifest
from anomaly_vae.errors import BundleError

HOSTILE = ("../evil", "/etc/passwd", "a/b", "..", "", "manifest.json", "model.sig", "x\0y", "encoder.onnx ")


@pytest.fixture
def raw(model_path):
    return (model_path / "manifest.json").read_bytes()


def test_a_manifest_is_read_from_its_bytes_as_from_its_folder(model_path, raw):
    manifest = checked_manifest(raw, (model_path / CHECKSUM).read_bytes(), "s3://bucket/model")
    assert manifest == read_bundle(model_path).manifest
    assert {*file_names(manifest), "manifest.json", CHECKSUM} == {each.name for each in model_path.iterdir()}
    assert {*file_names(manifest)} < {*EVERY_NAME}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_manifest_cannot_name_files_that_bundles_do_not_have(raw, name):
    """So a name that it lists is safe to use as a path, and as part of an address."""
    fields = json.loads(raw)
    fields["files"][name] = fields["files"].pop("noise.npy")
    data = json.dumps(fields).encode()
    with pytest.raises(BundleError, match=r"s3://b/m/manifest\.json: files must list exactly"):
        checked_manifest(data, checksum_of(data), "s3://b/m")


def test_a_manifest_cannot_claim_more_bytes_than_a_bundle_may_have(bundle):
    files = dict(bundle.manifest.files) | {"noise.npy": FileRecord(sha256="0" * 64, size=2**40)}
    data = encode_manifest(msgspec.structs.replace(bundle.manifest, files=files))
    with pytest.raises(BundleError, match=r"a bundle has at most 4294967296"):
        checked_manifest(data, checksum_of(data), "where")


def test_the_checksum_must_be_there_and_fit(raw):
    with pytest.raises(BundleError, match=r"manifest\.sha256 is missing"):
        checked_manifest(raw, None, "where")
    with pytest.raises(BundleError, match=r"manifest\.sha256 has another"):
        checked_manifest(raw, checksum_of(raw + b" "), "where")


@pytest.mark.parametrize("data", [b"rows", b"row", b"Row.", b"rows " * 2])
def test_other_bytes_than_the_listed_ones_are_refused(data):
    record = FileRecord(sha256=hashlib.sha256(b"rows.").hexdigest(), size=5)
    check_digest(b"rows.", record, "noise.npy")
    with pytest.raises(BundleError, match=r"noise\.npy: \d+ bytes with sha256"):
        check_digest(data, record, "noise.npy")


def test_a_signature_is_allowed_and_not_read(copy, bundle):
    """Its bytes are checked elsewhere, before the reader starts; here they may be anything."""
    (copy / SIGNATURE).symlink_to("/dev/full")
    assert read_bundle(copy).files == dict(bundle.files)
    assert SIGNATURE not in read_files(copy).contents
    (copy / f"{SIGNATURE}2").write_bytes(b"")
    with pytest.raises(BundleError, match=r"'model\.sig2' is not part of a bundle"):
        read_bundle(copy)


def test_a_bundle_with_another_manifest_than_the_signed_one_is_refused(copy):
    digest = read_bundle(copy).digest
    assert read_bundle(copy, digest=digest).digest == digest
    with pytest.raises(BundleError, match=r"the signature covers one that starts 000000000000"):
        read_bundle(copy, digest="0" * 64)
