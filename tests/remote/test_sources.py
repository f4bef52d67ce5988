"""From a URL to something that finds its bundles."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pyarrow.fs
import pytest

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import AnomalyVaeWarning, BundleError, ConfigError
from anomaly_vae.remote.sources import fetched_folder, source_of
from anomaly_vae.remote.transfer import push


def test_versions_that_come_and_go_in_a_bucket_are_found(bucket, model_path, other_path, tmp_path):
    """The whole way: push, scan, push a new version, replace one, damage one, delete one."""
    url = f"s3://{bucket}/models"
    source = source_of(url, cache_dir=tmp_path / "cache")
    assert source.scan() == {}
    push(model_path, f"{url}/fraud/3")
    assert source.scan().keys() == {("fraud", "3")}
    push(other_path, f"{url}/fraud/4")
    push(other_path, f"{url}/churn/1")
    assert source.scan().keys() == {("fraud", "3"), ("fraud", "4"), ("churn", "1")}
    push(other_path, f"{url}/fraud/3", overwrite=True)
    assert read_bundle(source.scan()["fraud", "3"]).digest == read_bundle(other_path).digest
    put(bucket, "models/fraud/5/manifest.json", b"{}")
    put(bucket, "models/%2e%2e/evil/manifest.json", b"{}")
    put(bucket, "models/fraud/%2e%2e/%2e%2e/evil/6/manifest.json", b"{}")
    system = pyarrow.fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"][7:], scheme="http")
    system.delete_dir(f"{bucket}/models/churn")
    assert source.scan().keys() == {("fraud", "3"), ("fraud", "4")}
    assert [*source.refused] == [("fraud", "5")]


def put(bucket, key, data):
    """Write an object with any key: pyarrow would tidy up its path."""
    url, kind = f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/{key}", {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data, kind, method="PUT")  # noqa: S310
    urllib.request.urlopen(request).close()  # noqa: S310


def test_a_url_that_was_made_a_path_is_still_one(tmp_path):
    """Settings of the service hold paths."""
    for given in ("s3://bucket/models?scheme=http", Path("s3://bucket/models?scheme=http")):
        address = source_of(given, cache_dir=tmp_path)._store.address
        assert (str(address), dict(address.options)) == ("s3://bucket/models", {"scheme": "http"})


def test_a_url_that_cannot_be_used_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="use https"):
        source_of("http://example.com/m", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="the key cannot be read"):
        source_of("s3://bucket/models", cache_dir=tmp_path, verify_key=tmp_path / "none.pem")


def test_the_one_bundle_of_a_url_is_fetched(bucket, model_path, other_path, tmp_path, monkeypatch):
    url, cache = f"s3://{bucket}/models", tmp_path / "cache"
    with pytest.raises(BundleError, match=rf"s3://{bucket}/models: no model bundle there"), fetched_folder(url):
        pass
    push(model_path, f"{url}/fraud/4")
    with fetched_folder(url, cache_dir=cache) as folder:
        digest = read_bundle(folder).digest
    assert digest == read_bundle(model_path).digest
    push(other_path, f"{url}/fraud/5")
    with pytest.raises(BundleError, match="2 bundles are there; choose one"), fetched_folder(url, cache_dir=cache):
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.warns(AnomalyVaeWarning, match="may be old"), fetched_folder(url, cache_dir=cache) as folder:
        assert read_bundle(folder).digest == digest


def test_a_damaged_bundle_of_a_url_is_refused(bucket, model_path, tmp_path):
    url = f"s3://{bucket}/fraud/4"
    push(model_path, url)
    put(bucket, "fraud/4/noise.npy", b"short")
    with pytest.raises(BundleError, match=r"fraud/4/noise\.npy: 5 bytes with sha256"), fetched_folder(url):
        pass
