"""Addresses of services: host:port, grpc://host:port, or grpcs://host:port for TLS; with /NAME or /NAME/VERSION."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from anomaly_vae.errors import ConfigError

__all__ = ["PLAIN_SCHEME", "TLS_SCHEME", "Target", "parse_target"]

PLAIN_SCHEME = "grpc://"
TLS_SCHEME = "grpcs://"

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[^\s:/\[\]]+):([0-9]{1,5})")
_MAX_PORT = 65_535


@dataclass(frozen=True)
class Target:
    """The address of a service.

    Attributes:
        address: "host:port", as gRPC expects it.
        secure: Whether to use TLS.
        model_name, model_version: The model; empty for any.
        is_loopback: Whether everything sent there certainly stays on this machine.
    """

    address: str
    secure: bool
    is_loopback: bool
    model_name: str = ""
    model_version: str = ""

    def __str__(self) -> str:
        """Return the address with its scheme."""
        return f"{TLS_SCHEME if self.secure else PLAIN_SCHEME}{self.address}"


def parse_target(text: str, *, with_tls: bool = False) -> Target:
    """Parse an address. ``with_tls`` decides about TLS where the address has no scheme.

    Raises:
        ConfigError: The text is not a host and a port, or it starts with grpc:// and ``with_tls`` is True.
    """
    if with_tls and text.startswith(PLAIN_SCHEME):
        raise ConfigError(f"{text}: {PLAIN_SCHEME} is plaintext, but TLS options are given; give {TLS_SCHEME}HOST:PORT")
    secure = with_tls or text.startswith(TLS_SCHEME)
    address = text.removeprefix(TLS_SCHEME if secure else PLAIN_SCHEME).rstrip("/")
    address, _, model = address.partition("/")
    name, _, version = model.partition("/")
    found = _ADDRESS.fullmatch(address)
    if not found or "/" in version or int(found[2]) > _MAX_PORT:
        raise ConfigError(
            f"{text!r} is not the address of a service; give {PLAIN_SCHEME}HOST:PORT, such as 127.0.0.1:50051, or "
            f"{TLS_SCHEME}HOST:PORT for TLS; /NAME or /NAME/VERSION after it chooses a model"
        )
    return Target(address, secure, _is_loopback(found[1].strip("[]")), unquote(name), unquote(version))


def _is_loopback(host: str) -> bool:
    """Return True for localhost and loopback IP addresses; "127.0.0.1.example.com" is not one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
