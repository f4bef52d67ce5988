"""How a client knows the service, and the service the client: TLS and the bearer token."""

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

TOKEN_VARIABLE = "ANOMALY_VAE_TOKEN"  # noqa: S105 (where a token is, not one)

_TOKEN = re.compile(r"[!-~]+")

Pem = str | Path | bytes


@dataclass(frozen=True, kw_only=True)
class Tls:
    """What a TLS connection takes. Files are read, and checked, when a client is made.

    Attributes:
        ca: Certificates of the authorities that may sign the service's, a PEM file or its bytes; None for those that
            gRPC trusts: the public ones, which come with it, or the file that GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.
        cert: The client's own certificate, followed by intermediate ones if any, for a service that asks for it.
        key: Its private key, not encrypted.
        server_name: The name that the service's certificate must have, if it is not the host that is connected to.
    """

    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Check that certificate and key come together."""
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ConfigError(f"TLS: {given} is given without {missing}; a client certificate takes both")


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """The credentials of a channel.

    Raises:
        ConfigError: A file cannot be read, or is not what it should be.
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
    """The metadata that carry a token, or the environment's if it is None; none for no token.

    Raises:
        ConfigError: It is no token, or others could read it on its way.
    """
    where = "token" if token is not None else TOKEN_VARIABLE
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    if not token:
        return ()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"{where}: a token has printable ASCII characters only, without blanks and line ends, this one has others; "
            "was a whole file read, or cut at the wrong place?"
        )
    if not target.secure and not target.is_loopback:
        raise ConfigError(
            f"{where}: {target} is plaintext, and whoever sees the token on its way can use it; "
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
        # Without a password of ours OpenSSL would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"TLS: {key} is not the private key of {cert}, or it is encrypted; give the one it was made with, decrypted"
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
