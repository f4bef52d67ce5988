"""Object stores, by a server that behaves like Amazon S3's."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import RemoteError
from anomaly_vae.remote import systems
from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.objects import ObjectFolder


def folder(url):
    return ObjectFolder(parse_address(url))


def test_the_endpoint_may_stand_in_the_url(bucket, s3_server, monkeypatch):
    folder(f"s3://{bucket}/a").write("x", b"1")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = f"s3://{bucket}/a?endpoint_override={s3_server}&scheme=http"
    assert folder(url).read("x", 1) == b"1"
    assert folder(f"{url}&anonymous=true&region=eu-west-1").read("x", 1) == b"1"


def test_the_endpoint_of_s3_goes_before_that_of_all_services(bucket, s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{s3_server}/")
    assert folder(f"s3://{bucket}").files() == []


def test_a_bucket_that_does_not_exist_is_a_fault_and_not_an_empty_folder(bucket):
    """Otherwise a service would take all its models as removed."""
    with pytest.raises(RemoteError, match=r"s3://no-such-bucket/a: .*NO_SUCH_BUCKET"):
        folder("s3://no-such-bucket/a").files()
    with pytest.raises(RemoteError, match=r"s3://no-such-bucket/a"):
        folder("s3://no-such-bucket/a").write("x", b"")
    assert folder(f"s3://{bucket}/none").files() == []


def test_a_server_that_is_down_is_a_fault(bucket, monkeypatch):
    monkeypatch.setattr(systems, "TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    down = folder(f"s3://{bucket}/a")
    for use in (down.files, lambda: down.read("x", 1), lambda: down.write("x", b"1"), lambda: down.delete("x")):
        with pytest.raises(RemoteError, match=rf"s3://{bucket}/a: .*127\.0\.0\.1") as caught:
            use()
        assert "\n" not in str(caught.value)
