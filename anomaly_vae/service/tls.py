"""TLS: certificates that are checked before they are used, and replaced without a restart."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry, Gauge

from anomaly_vae.errors import StartupError
from anomaly_vae.service.logs import event
from anomaly_vae.service.watched import UsableLater, Watched

__all__ = ["Tls", "show_expiry"]

_LOG = logging.getLogger("anomaly_vae.service")

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# How far the clocks of this machine and of the authority may differ; synchronised ones differ by well under a second.
_SECONDS_BETWEEN_CLOCKS = 60.0


@dataclass(frozen=True)
class _Loaded:
    """What new connections are given.

    Attributes:
        configuration: The certificate and its key, for gRPC.
        start, expiry: Between which times the whole chain is valid, in seconds since 1970.
    """

    configuration: grpc.ServerCertificateConfiguration
    start: float
    expiry: float

    def is_valid(self, now: float) -> bool:
        """Whether clients take it."""
        return self.start - _SECONDS_BETWEEN_CLOCKS <= now < self.expiry


class Tls:
    """The certificate and key of a server, and who may sign those of its clients.

    New connections are given what the files hold; those there are go on with what they were given. A certificate that
    clients would refuse, because it has expired or is not valid yet, never replaces a valid one. It may replace another
    that clients refuse: nothing is lost, and what is served is what the files hold.
    """

    def __init__(
        self, certificate: Path, key: Path, client_ca: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Read and check the files.

        Args:
            certificate: The chain of certificates, PEM, the server's own first.
            key: Its private key, PEM, without a password.
            client_ca: Certificates, PEM, one of which must have signed a client's; None asks clients for none.
            clock: Seconds since 1970.

        Raises:
            StartupError: A file cannot be read or used, or the key is not the certificate's.
        """
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._clock = clock
        self._in_use: _Loaded | None = None
        paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
        self._loaded = Watched(paths, self._load, f"the TLS certificate {certificate}", clock)
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
        start, expiry = _validity(certificate, self._certificate)
        configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], *client_ca)
        loaded = _Loaded(configuration, start, expiry)
        now = self._clock()
        if self._in_use is not None and self._in_use.is_valid(now):
            self._check_replacement(loaded, now)
        self._warn(loaded, now)
        self._in_use = loaded
        return loaded

    def _check_replacement(self, loaded: _Loaded, now: float) -> None:
        """Refuse to give up a valid certificate for one that clients would refuse."""
        if loaded.expiry <= now:
            raise StartupError(
                f"{self._certificate} expired at {_date(loaded.expiry)}, so clients would refuse it: put a renewed "
                "certificate and its key in its place, which needs no restart"
            )
        if not loaded.is_valid(now):
            raise UsableLater(
                f"{self._certificate} is valid only from {_date(loaded.start)}, so clients would refuse it before: "
                "it is taken then; if that is past, set this machine's clock",
                loaded.start - _SECONDS_BETWEEN_CLOCKS,
            )

    def _warn(self, loaded: _Loaded, now: float) -> None:
        if loaded.expiry <= now:
            text = "%s expired at %s: clients will refuse it; replace it, which needs no restart"
            _LOG.warning(text, self._certificate, _date(loaded.expiry), extra=event("certificate_expired"))
        elif not loaded.is_valid(now):
            text = "%s is valid only from %s: clients will refuse it before; is this machine's clock right?"
            _LOG.warning(text, self._certificate, _date(loaded.start), extra=event("certificate_not_valid_yet"))
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


def _validity(chain: bytes, path: Path) -> tuple[float, float]:
    """When the last of the certificates in a chain begins, and the first ends, in seconds since 1970."""
    from cryptography import x509  # it takes its time, which a service without TLS need not spend

    try:
        certificates = [x509.load_pem_x509_certificate(pem) for pem in _CERTIFICATE.findall(chain)]
    except ValueError as error:
        raise StartupError(f"{path} holds a certificate that cannot be read") from error
    start = max(certificate.not_valid_before_utc for certificate in certificates)
    return start.timestamp(), min(certificate.not_valid_after_utc for certificate in certificates).timestamp()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


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
