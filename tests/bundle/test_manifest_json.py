"""manifest.json: strict records to and from bytes."""

from __future__ import annotations

import json

import pytest

from anomaly_vae.bundle.manifest import FORMAT_VERSION
from anomaly_vae.bundle.manifest_json import decode_manifest, encode_manifest, refuse_other_version
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import load
from tests.support.attacks import put


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format_version": NaN}', '{"format_version": 1e999}', "[" * 100_000]
)
def test_a_malformed_manifest_is_refused(copy, text):
    put(text.encode())(copy)
    with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
        load(copy)


def test_a_malformed_number_is_refused(copy):
    text = (copy / "manifest.json").read_text()
    threshold = json.loads(text)["calibration"]["threshold"]
    for odd in ("NaN", "Infinity", "1e999", "null"):
        put(text.replace(f'"threshold": {threshold}', f'"threshold": {odd}').encode())(copy)
        with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
            load(copy)


def test_what_is_encoded_is_what_is_decoded(bundle):
    """Indented JSON, which every parser reads; a float64 is written with all its digits."""
    data = encode_manifest(bundle.manifest)
    assert decode_manifest(data, "manifest.json") == bundle.manifest
    text = json.loads(data)
    assert text["format_version"] == FORMAT_VERSION
    assert text["calibration"]["threshold"] == bundle.manifest.calibration.threshold
    assert data.startswith(b'{\n  "format_version": ')
    assert data.endswith(b"}\n")


def test_an_error_names_the_file_and_the_field(bundle):
    text = json.loads(encode_manifest(bundle.manifest))
    text["training"]["steps"] = "many"
    with pytest.raises(
        BundleError, match=r"^model/manifest\.json: not a manifest .*\$\.training\.steps.*Copy the folder"
    ):
        decode_manifest(json.dumps(text).encode(), "model/manifest.json")


def test_another_version_is_refused_before_the_fields_are_read():
    """A later format may have other fields: only its version is read."""
    with pytest.raises(BundleError, match="format version 99, this release reads 7; upgrade anomaly_vae or train"):
        refuse_other_version(b'{"format_version": 99, "new": {"a": [1]}}', "manifest.json")
    refuse_other_version(b'{"format_version": 7}', "manifest.json")
