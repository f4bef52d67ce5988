"""The server's TLS certificate: checked before it is used, and replaced without a restart."""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry, Gauge

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.certificates import KeyPair, read_authorities, read_key_pair
from anomaly_vae.service.access.ssl_context import server_context
from anomaly_vae.service.access.watched_files import UsableLater, WatchedFiles
from anomaly_vae.service.telemetry.logs import event

__all__ = ["ServerCertificate"]

_LOG = logging.getLogger("anomaly_vae.service")

# How far the clocks of this machine and of the authority may differ. Chosen, not measured: synchronised clocks differ
# by far less than a second.
_CLOCK_TOLERANCE_S = 60.0


@dataclass(frozen=True)
class _Loaded:
    """A certificate for new connections.

    Attributes:
        pair: The certificate and its key.
        authorities: The certificates of the authorities of clients, PEM, or None.
        configuration: The same for gRPC.
        valid_from, valid_until: When the whole chain is valid, in seconds since 1970.
    """

    pair: KeyPair
    authorities: bytes | None
    configuration: grpc.ServerCertificateConfiguration
    valid_from: float
    valid_until: float

    def is_valid(self, now: float) -> bool:
        """Whether clients accept it."""
        return self.valid_from - _CLOCK_TOLERANCE_S <= now < self.valid_until


class ServerCertificate:
    """The certificate and key of a server, and the authorities that may sign the certificates of its clients.

    New connections get what the files hold now. Open connections keep the certificate that they started with. A
    certificate that clients would refuse, because it has expired or is not valid yet, never replaces a valid one. It
    may replace another that clients refuse.
    """

    def __init__(
        self, certificate: Path, key: Path, client_ca: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Read and check the files.

        Args:
            certificate: The chain of certificates, PEM, the server's own first.
            key: Its private key, PEM, without a password.
            client_ca: Certificates of authorities, PEM. Clients must show a certificate that one of them signed. None:
                clients need no certificate.
            clock: Seconds since 1970.

        Raises:
            StartupError: A file cannot be read or used, or the key does not belong to the certificate.
        """
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._clock = clock
        self._in_use: _Loaded | None = None
        paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
        self._loaded = WatchedFiles(paths, self._load, f"the TLS certificate {certificate}", clock)
        self._given = self._loaded.get()
        self._context: tuple[_Loaded, ssl.SSLContext] | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials for a port. gRPC accepts TLS 1.2 and 1.3."""
        return grpc.dynamic_ssl_server_credentials(
            self._given.configuration, self._replacement, require_client_authentication=self._client_ca is not None
        )

    def context(self) -> ssl.SSLContext:
        """Return what a new connection of Python's ``ssl`` needs: TLS 1.2 and 1.3, for HTTP/1.1.

        Raises:
            StartupError: OpenSSL cannot use the files, and there are no earlier ones.
        """
        loaded = self._loaded.get()
        if self._context is None or self._context[0] is not loaded:
            try:
                self._context = loaded, server_context(loaded.pair, loaded.authorities)
            except StartupError as error:
                if self._context is None:
                    raise
                text = "%s; connections over HTTP keep the earlier ones"
                _LOG.error(text, error, extra=event("reload_failed", what="TLS of HTTP"))
                self._context = loaded, self._context[1]
        return self._context[1]

    @property
    def valid_until(self) -> float:
        """When the first certificate of the chain expires, in seconds since 1970."""
        return self._loaded.get().valid_until

    def show_expiry(self, registry: CollectorRegistry) -> None:
        """Add the expiry time of the certificate to the metrics."""
        gauge = Gauge(
            "anomaly_vae_tls_certificate_expiry_timestamp_seconds",
            "When the first certificate of the server's chain expires.",
            registry=registry,
        )
        gauge.set_function(lambda: self.valid_until)

    def _replacement(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a new configuration, or None to keep the last one. gRPC calls this before every handshake."""
        loaded = self._loaded.get()
        if loaded is self._given:
            return None
        self._given = loaded
        return loaded.configuration

    def _load(self, contents: Sequence[bytes]) -> _Loaded:
        certificate, key, *client_ca = contents
        pair = read_key_pair(certificate, key, self._certificate, self._key)
        authorities = None if self._client_ca is None else read_authorities(client_ca[0], self._client_ca)
        configuration = grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], authorities)
        loaded = _Loaded(pair, authorities, configuration, pair.valid_from, pair.valid_until)
        now = self._clock()
        if self._in_use is not None and self._in_use.is_valid(now):
            self._check_replacement(loaded, now)
        self._warn(loaded, now)
        self._in_use = loaded
        return loaded

    def _check_replacement(self, loaded: _Loaded, now: float) -> None:
        """Raise StartupError if the new certificate has expired, UsableLater if it is not valid yet."""
        if loaded.valid_until <= now:
            raise StartupError(
                f"{self._certificate} expired at {_date(loaded.valid_until)}, so clients would refuse it; replace it "
                "and its key by a renewed certificate, which needs no restart"
            )
        if not loaded.is_valid(now):
            raise UsableLater(
                f"{self._certificate} is valid only from {_date(loaded.valid_from)}, so clients would refuse it now; "
                "it will be used from then on; if that time has passed, set this machine's clock",
                loaded.valid_from - _CLOCK_TOLERANCE_S,
            )

    def _warn(self, loaded: _Loaded, now: float) -> None:
        if loaded.valid_until <= now:
            text = "%s expired at %s: clients will refuse it; replace it, which needs no restart"
            _LOG.warning(text, self._certificate, _date(loaded.valid_until), extra=event("certificate_expired"))
        elif not loaded.is_valid(now):
            text = "%s is valid only from %s: clients will refuse it until then; is this machine's clock right?"
            _LOG.warning(text, self._certificate, _date(loaded.valid_from), extra=event("certificate_not_valid_yet"))
        with contextlib.suppress(OSError):  # the file was removed in the meantime
            if self._key.stat().st_mode & 0o007:
                text = "%s can be read by every user of this machine; chmod it to 600 (Kubernetes: defaultMode: 0400)"
                _LOG.warning(text, self._key, extra=event("key_exposed"))


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
