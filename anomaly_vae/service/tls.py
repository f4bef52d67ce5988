"""TLS: certificates that are checked before they are used, and replaced without a restart."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry, Gauge

from anomaly_vae.errors import StartupError
from anomaly_vae.service.logs import event
from anomaly_vae.service.watched import Watched

__all__ = ["Tls", "expiry_of", "show_expiry"]

_LOG = logging.getLogger("anomaly_vae.service")

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Tags of DER, in which certificates are written (ITU-T X.690).
_VERSION, _UTC_TIME = 0xA0, 0x17
_FIELDS_BEFORE_VALIDITY = 3  # serial number, signature algorithm, issuer


@dataclass(frozen=True)
class _Loaded:
    """What new connections are given."""

    configuration: grpc.ServerCertificateConfiguration
    expiry: float


class Tls:
    """The certificate and key of a server, and who may sign those of its clients.

    New connections are given what the files hold; those there are go on with what they were given.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Read and check the files.

        Args:
            certificate: The chain of certificates, PEM, the server's own first.
            key: Its private key, PEM, without a password.
            client_ca: Certificates, PEM, one of which must have signed a client's; None asks clients for none.

        Raises:
            StartupError: A file cannot be read or used, or the key is not the certificate's.
        """
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
        self._loaded = Watched(paths, self._load, f"the TLS certificate {certificate}")
        self._given = self._loaded.get()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for a port; gRPC takes no TLS older than 1.2."""
        return grpc.dynamic_ssl_server_credentials(
            self._given.configuration, self._replacement, require_client_authentication=self._client_ca is not None
        )

    @property
    def expiry(self) -> float:
        """When the first of the certificates in the chain ends, in seconds since 1970."""
        return self._loaded.get().expiry

    def _replacement(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before every handshake: another configuration than it was given, or None."""
        loaded = self._loaded.get()
        if loaded is self._given:
            return None
        self._given = loaded
        return loaded.configuration

    def _load(self, contents: Sequence[bytes]) -> _Loaded:
        certificate, key, *client_ca = contents
        _check_pair(certificate, key, self._certificate, self._key)
        if self._client_ca is not None:
            _check_authorities(client_ca[0], self._client_ca)
        try:
            expiry = min(map(expiry_of, _CERTIFICATE.findall(certificate)))
        except ValueError as error:
            raise StartupError(f"{self._certificate} holds a certificate that cannot be read") from error
        self._warn(expiry)
        configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], *client_ca)
        return _Loaded(configuration, expiry)

    def _warn(self, expiry: float) -> None:
        if expiry <= time.time():
            ended = datetime.fromtimestamp(expiry, UTC).isoformat(timespec="seconds")
            text = "%s expired at %s: clients will refuse it; replace it, which needs no restart"
            _LOG.warning(text, self._certificate, ended, extra=event("certificate_expired"))
        with contextlib.suppress(OSError):  # it is gone by now
            if self._key.stat().st_mode & 0o007:
                text = "%s can be read by every user of this machine; chmod it to 600 (Kubernetes: defaultMode: 0400)"
                _LOG.warning(text, self._key, extra=event("key_exposed"))


def show_expiry(registry: CollectorRegistry, tls: Tls) -> None:
    """Let Prometheus ask when the certificate ends."""
    gauge = Gauge(
        "anomaly_vae_tls_certificate_expiry_timestamp_seconds",
        "When the first certificate of the server's chain ends.",
        registry=registry,
    )
    gauge.set_function(lambda: tls.expiry)


def expiry_of(pem: bytes) -> float:
    """When a certificate ends, in seconds since 1970.

    The standard library tells it only of a certificate that a peer has shown, so its few outer layers are read here.

    Raises:
        ValueError: It is no certificate.
    """
    certificate = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    _, signed, _ = _element(certificate)
    _, rest, _ = _element(signed)
    tag, _, after = _element(rest)
    if tag == _VERSION:
        rest = after
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest)
    _, _, rest = _element(validity)
    tag, text, _ = _element(rest)
    digits = text.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year, 1950 to 2049 (RFC 5280, 4.1.2.5.1)
        digits = ("19" if digits >= "5" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and contents of the first DER element, and what follows it."""
    if len(data) < 2:
        raise ValueError("the certificate is cut off")
    start, length = 2, data[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("the certificate is cut off")
    return data[0], data[start : start + length], data[start + length :]


def _check_pair(certificate: bytes, key: bytes, path: Path, key_path: Path) -> None:
    """Refuse what OpenSSL would; from memory, since the files may be others by now."""
    if not _CERTIFICATE.search(certificate):
        raise StartupError(f"{path} holds no certificate; expected PEM, with a line -----BEGIN CERTIFICATE-----")
    if b"PRIVATE KEY-----" not in key:
        raise StartupError(f"{key_path} holds no private key; expected PEM, with a line -----BEGIN PRIVATE KEY-----")
    if b"ENCRYPTED" in key:
        raise StartupError(
            f"{key_path} is protected by a password; write it without: openssl pkey -in {key_path} -out FILE"
        )
    handle = os.memfd_create("pair")
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(certificate + b"\n" + key)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{handle}", password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "UNREADABLE"
        raise StartupError(
            f"{path} and {key_path} cannot be used together: {reason}; the key must be that of the first certificate"
        ) from error
    finally:
        os.close(handle)


def _check_authorities(data: bytes, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise StartupError(f"{path} holds no certificates of authorities; expected PEM") from error
