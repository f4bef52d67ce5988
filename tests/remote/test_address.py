"""The URL of bundles, taken apart and checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.remote.address import is_bundle_url, is_url, local_path, parse_address

GOOD = {
    "s3://models/fraud/4": ("s3", "models", "fraud/4", {}),
    "s3://models": ("s3", "models", "", {}),
    "s3://models//a/b/": ("s3", "models", "a/b", {}),
    "s3://m/x?endpoint_override=127.0.0.1:9000&scheme=http&region=eu&anonymous=true": (
        "s3",
        "m",
        "x",
        {"endpoint_override": "127.0.0.1:9000", "scheme": "http", "region": "eu", "anonymous": "true"},
    ),
    "s3://anonymous@m/x": ("s3", "m", "x", {"anonymous": "true"}),
    "gs://anonymous@m/x": ("gs", "m", "x", {"anonymous": "true"}),
    "gcs://m/x": ("gs", "m", "x", {}),
    "az://box/x": ("az", "box", "x", {}),
    "abfs://account@box/x": ("az", "box", "x", {"account": "account"}),
    "https://example.com:8443/m/1": ("https", "example.com:8443", "m/1", {}),
}
BAD = {
    "http://example.com/m": "use https",
    "ftp://example.com/m": "expected s3://BUCKET/PATH",
    "s3://key:secret@m/x": "no user names and secrets",
    "s3://key@m/x": "no user names and secrets",
    "https://user:secret@example.com/m": "no user names and secrets",
    "az://account:secret@box/x": "no user names and secrets",
    "s3:///x": "no name after ://",
    "s3://m/a/../b": r"no \. or \.\.",
    "s3://m/a/%2e%2e/b": r"no \. or \.\.",
    "s3://m/x?endpoint=1": "'endpoint' is no option of s3://; there are: endpoint_override, scheme, region, anonymous",
    "https://example.com/m?token=1": "'token' is no option of https://; there are: none",
    "s3://m/x?anonymous=yes": "anonymous is true or false, got 'yes'",
    "s3://m/x?scheme=ftp": "scheme is http or https, got 'ftp'",
    "https://example.com/m#1": "no part after #",
    "https://example.com:port/m": "this is no URL",
    "https://[::1/m": "this is no URL",
    "s3://m/a\nb": "printable",
    "https://user:secret@example.com:port/m": "this is no URL",
    "https://user:secret@example.com:99999/m?signature=secret": "this is no URL",
    "https://user:secret@example.com/a\nb": "printable",
}


@pytest.mark.parametrize("url", GOOD)
def test_a_url_is_taken_apart(url):
    address = parse_address(url)
    assert (address.scheme, address.place, address.path, dict(address.options)) == GOOD[url]
    assert parse_address(str(address)) == address._replace(options={})


@pytest.mark.parametrize("url", BAD)
def test_what_is_wrong_with_a_url_is_said_in_one_line(url):
    with pytest.raises(ConfigError, match=BAD[url]) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value).replace("secrets", "")
    assert "\n" not in str(caught.value)


def test_a_path_is_no_url():
    assert [*map(is_url, ("s3://a", "S3://a", "grpc://a:1", "file:///a"))] == [True] * 4
    assert [*map(is_url, ("model", "a/b", "C:/a", "/a://b", "", Path("a")))] == [False] * 6


def test_urls_of_bundles_are_told_from_those_of_services():
    assert all(map(is_bundle_url, ("s3://a", "S3://a", "gcs://a", "abfss://a", "https://a", "file:///a")))
    assert not any(map(is_bundle_url, ("grpc://a:1", "http://a", "model", "s3", "")))


def test_a_url_of_a_file_is_a_path():
    assert local_path("file:///a/b%20c") == "/a/b c"
    assert local_path("file://localhost/a") == "/a"
    assert local_path("models/fraud/4") == "models/fraud/4"
    assert local_path("s3://models") == "s3://models"
    for url in ("file://host/a", "file://a"):
        with pytest.raises(ConfigError, match="three slashes"):
            local_path(url)
