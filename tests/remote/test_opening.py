"""A bundle from wherever it is, into memory."""

from __future__ import annotations

import pickle
import shutil

import pytest

import anomaly_vae
from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.remote import opening
from anomaly_vae.remote.opening import open_bundle
from anomaly_vae.remote.signing import sign
from anomaly_vae.remote.transfer import push
from tests.support.remote_stores import files_of, web_server


def test_a_folder_is_opened_by_its_path_or_its_url(model_path):
    expected = read_bundle(model_path).digest
    for model in (model_path, str(model_path), f"file://{model_path}"):
        bundle, folder = open_bundle(model)
        assert (bundle.digest, folder) == (expected, model_path)


def test_a_model_in_a_bucket_scores_as_in_its_folder(bucket, model_path, new_rows, scorer):
    push(model_path, f"s3://{bucket}/models/fraud/4")
    loaded = anomaly_vae.load(f"s3://{bucket}/models/fraud/4", threads=1)
    assert loaded.path is None
    assert loaded.score(new_rows).log_px.tobytes() == scorer.score(new_rows).log_px.tobytes()
    assert pickle.loads(pickle.dumps(loaded)).bundle.digest == loaded.bundle.digest  # noqa: S301 (our own bytes)


def test_a_model_on_a_web_server_is_opened(model_path, tmp_path, monkeypatch):
    replies = {f"/fraud/4/{name}": (200, {}, data) for name, data in files_of(model_path).items()}
    with web_server(replies, tmp_path) as (place, seen):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        bundle, folder = open_bundle(f"https://{place}/fraud/4")
        with pytest.raises(BundleError, match=rf"no model bundle there: https://{place}/fraud/manifest\.json"):
            open_bundle(f"https://{place}/fraud")
    assert (bundle.digest, folder) == (read_bundle(model_path).digest, None)
    assert "/fraud/4/model.sig" in seen


def test_with_a_key_a_bundle_must_be_signed(copy, keys, tmp_path):
    with pytest.raises(BundleError, match="the bundle is not signed"):
        open_bundle(copy, verify_key=keys[1])
    sign(copy, keys[0])
    assert open_bundle(copy, verify_key=keys[1])[0].digest == read_bundle(copy).digest
    assert anomaly_vae.load(copy, verify_key=str(keys[1]), threads=1).path == copy
    with pytest.raises(ConfigError, match="the key cannot be read"):
        open_bundle(copy, verify_key=tmp_path / "none.pem")


def test_a_bundle_that_is_exchanged_after_its_check_is_refused(copy, other_path, keys, monkeypatch):
    """The bytes that are parsed must be those that were signed."""
    from anomaly_vae.remote import signatures

    sign(copy, keys[0])
    check = signatures.verify

    def exchange_afterwards(folder, key):
        digest = check(folder, key)
        shutil.rmtree(folder)
        shutil.copytree(other_path, folder)
        return digest

    monkeypatch.setattr(signatures, "verify", exchange_afterwards)
    with pytest.raises(BundleError, match=r"manifest\.json: its sha256 starts .*, the signature covers one"):
        open_bundle(copy, verify_key=keys[1])


def test_nothing_is_parsed_before_the_signature_is_checked(copy, keys, monkeypatch):
    read = []
    monkeypatch.setattr(opening, "read_bundle", lambda *arguments, **options: read.append(arguments))
    with pytest.raises(BundleError, match="not signed"):
        open_bundle(copy, verify_key=keys[1])
    assert read == []
