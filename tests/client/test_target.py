"""Addresses of services: what is accepted, what it means, and what is refused."""

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
def test_targets_are_parsed(text, address, secure, is_loopback):
    target = parse_target(text)
    assert (target.address, target.secure, target.is_loopback) == (address, secure, is_loopback)
    assert parse_target(address, with_tls=True).secure


@KINDS
@pytest.mark.parametrize(
    "target", ["", "host", "grpcs://", "grpcs://h", "h:99999", "::1:5", "http://h:1", "grpc://grpcs://h:1", "h :1"]
)
def test_a_malformed_address_is_refused(kind, target):
    with pytest.raises(ConfigError, match="is not the address of a service; give grpc://HOST:PORT"):
        kind(target)


@KINDS
def test_plaintext_and_tls_at_once_are_refused(kind):
    with pytest.raises(ConfigError, match=r"grpc:// is plaintext, but TLS options are given; give grpcs://HOST:PORT"):
        kind("grpc://localhost:1", tls=Tls())


@pytest.mark.parametrize("text", ["grpc://[::1]:1", "grpcs://scores.example:443"])
def test_the_text_of_a_target_is_an_address_that_gives_the_same_target(text):
    assert str(parse_target(text)) == text
    assert parse_target(str(parse_target(text))) == parse_target(text)


@pytest.mark.parametrize("host", ["127.255.0.9", "[::1]", "[::1%lo]"])
def test_every_loopback_address_is_loopback(host):
    """All of 127.0.0.0/8 and ::1 stay on the machine (RFC 1122, RFC 4291); a token may be sent there in plaintext."""
    assert parse_target(f"{host}:1").is_loopback
    assert not parse_target("128.0.0.1:1").is_loopback
