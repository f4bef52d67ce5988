"""How client and service authenticate each other: TLS certificates and the bearer token."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from anomaly_vae.client.target import TLS_SCHEME, Target
from anomaly_vae.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "Tls", "bearer", "channel_credentials"]

TOKEN_VARIABLE = "ANOMALY_VAE_TOKEN"  # noqa: S105 (the name of a variable, not a token)

_TOKEN = re.compile(r"[!-~]+")

Pem = str | Path | bytes


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Settings of a TLS connection. The files are read and checked when a client is made.

    Attributes:
        ca: Certificates of the authorities that may sign the service's certificate, a PEM file or its bytes. None for
            the public authorities that come with gRPC, or those in the file that the environment variable
            GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.
        cert: The client's own certificate, followed by intermediate ones if there are any, for a service that requires
            client certificates.
        key: The private key of ``cert``, not encrypted.
        server_name: The name in the service's certificate, if it differs from the host in the address.
    """

    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError if only one of certificate and key is given."""
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ConfigError(f"TLS: {given} is given without {missing}; a client certificate needs both")


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return the credentials of a gRPC channel.

    Raises:
        ConfigError: A file cannot be read or has the wrong content.
    """
    ca = None if tls.ca is None else _certificates("ca", tls.ca)
    if tls.cert is None or tls.key is None:
        return grpc.ssl_channel_credentials(ca)
    cert, key = _certificates("cert", tls.cert), _read("key", tls.key)
    if b"PRIVATE KEY-----" not in key:
        raise ConfigError(f"TLS: {_named('key', tls.key)} holds no private key in PEM")
    if not isinstance(tls.cert, bytes) and not isinstance(tls.key, bytes):
        _check_pair(tls.cert, tls.key)
    return grpc.ssl_channel_credentials(ca, key, cert)


def bearer(token: str | None, target: Target) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carry the token; empty if there is no token.

    Args:
        token: The token; None for the value of ANOMALY_VAE_TOKEN, empty for no token.
        target: The address.

    Raises:
        ConfigError: The token has characters that no token has, or it would leave this machine in plaintext.
    """
    where = "token" if token is not None else TOKEN_VARIABLE
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    if not token:
        return ()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"{where}: a token has printable ASCII characters only, without spaces and line ends; this one has others. "
            "Was too much or too little of a file read?"
        )
    if not target.secure and not target.is_loopback:
        raise ConfigError(
            f"{where}: {target} is plaintext, so that others on the network could read and use the token; "
            f"connect by TLS, {TLS_SCHEME}{target.address}"
        )
    return (("authorization", f"Bearer {token}"),)


def _certificates(name: str, source: Pem) -> bytes:
    data = _read(name, source)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"TLS: {_named(name, source)} holds no certificate in PEM, or a damaged one") from error
    return data


def _check_pair(cert: str | Path, key: str | Path) -> None:
    try:
        # With no password given, OpenSSL would prompt for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"TLS: {key} is not the private key of {cert}, or it is encrypted; give its key, decrypted"
        ) from error


def _read(name: str, source: Pem) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"TLS: {_named(name, source)} cannot be read: {reason}") from error


def _named(name: str, source: Pem) -> str:
    return name if isinstance(source, bytes) else f"{name} {source}"
