"""Checks of addresses in the settings."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from anomaly_vae.errors import ConfigError

__all__ = ["check_endpoint", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Return whether all addresses of a host are loopback addresses."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host {host!r} is no address of this machine: {error}") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def check_endpoint(url: str) -> None:
    """Raise ConfigError if a URL cannot be that of an OTLP collector that speaks gRPC."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:  # the port is not a number
        good = False
    if not good:
        raise ConfigError(
            f"otlp_endpoint must be the URL of a collector that speaks gRPC, such as http://127.0.0.1:4317, got {url!r}"
        )
