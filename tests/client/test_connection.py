"""What a client is given is checked before anything is sent."""

import pytest

from anomaly_vae.client import AsyncClient, Client, Tls
from anomaly_vae.client.target import parse_target
from anomaly_vae.errors import ConfigError

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


@pytest.mark.parametrize(
    ("text", "address", "secure", "is_loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False, True),
        ("grpc://scores.example:1/", "scores.example:1", False, False),
        ("grpcs://scores.example:443", "scores.example:443", True, False),
        ("grpcs://[::1]:65535", "[::1]:65535", True, True),
        ("[fe80::1%eth0]:5", "[fe80::1%eth0]:5", False, False),
        ("localhost:1", "localhost:1", False, True),
        ("127.example.com:1", "127.example.com:1", False, False),
        ("localhost.example.com:1", "localhost.example.com:1", False, False),
    ],
)
def test_targets_are_read(text, address, secure, is_loopback):
    target = parse_target(text)
    assert (target.address, target.secure, target.is_loopback) == (address, secure, is_loopback)
    assert parse_target(address, with_tls=True).secure


@KINDS
@pytest.mark.parametrize(
    "target", ["", "host", "grpcs://", "grpcs://h", "h:99999", "::1:5", "http://h:1", "grpc://grpcs://h:1", "h :1"]
)
def test_what_is_no_address_is_refused(kind, target):
    with pytest.raises(ConfigError, match="is no address of a service; give grpc://HOST:PORT"):
        kind(target)


@KINDS
def test_plaintext_and_tls_at_once_are_refused(kind):
    with pytest.raises(ConfigError, match=r"grpc:// is plaintext and TLS is asked for; give grpcs://HOST:PORT"):
        kind("grpc://localhost:1", tls=Tls())


@KINDS
@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": -1.0}, {"timeout": float("nan")}, {"retries": -1}], ids=str
)
def test_settings_that_cannot_be_are_refused(kind, options):
    with pytest.raises(ConfigError, match=rf"{next(iter(options))} must be"):
        kind("localhost:1", **options)


def test_no_parts_at_a_time_are_refused():
    with pytest.raises(ConfigError, match="concurrency must be 1 or more"):
        AsyncClient("localhost:1", concurrency=0)
