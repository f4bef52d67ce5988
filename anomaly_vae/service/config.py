"""What the service can be told, validated once. The names are those of the options of ``anomaly-vae serve``."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.tracing import check_endpoint

__all__ = ["ServeConfig"]

_LONGEST_NAME = 128
_MOST_SECONDS = 3_600
_QUEUE_BYTES = 256 * 2**20
_WORDS = {
    "log_format": ("text", "json"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_calls": ("none", "failed", "all"),
}


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Settings of one service.

    Attributes:
        model: The bundle to serve.
        name: Its name to clients; None takes the directory's.
        version: Its version to clients; None takes the directory's name if that is an integer, otherwise 1.
        host, port: Where gRPC listens; port 0 takes a free one.
        metrics_host, metrics_port: Where HTTP listens, for /metrics, /livez and /readyz.
        insecure_listen: Whether gRPC may listen beyond loopback, in plaintext.
        tls_cert, tls_key: The certificate chain and the private key of gRPC, PEM; None for plaintext.
        tls_client_ca: Certificates, PEM, one of which must have signed a client's; None asks clients for none.
        token_file: Digests of the tokens, one of which a client must send; None lets everyone call.
        threads: Compute threads; None takes all cores.
        nice: By how much compute threads are nicer than the process, 0 to 19: others on the same processors, the
            service's own event loop first of all, go before them.
        max_rows, max_columns, max_samples: Limits of one request.
        max_message_bytes: Limit of one request.
        max_queue_rows, max_queue_bytes: Rows admitted and not yet scored, over all requests, and what they take; None
            takes 256 MiB, or as much as the largest request needs.
        max_queue_seconds: Seconds of work admitted and not yet scored, by the pace that is measured. Half of the rows,
            bytes and calls that may wait are kept for callers that have none; one caller has at most a quarter.
        max_calls: Calls under way, over all connections.
        max_streams: Calls under way of one connection.
        reply_timeout: Seconds that a client may take to read a reply.
        grace: Seconds that admitted calls may take once the service drains.
        log_format: text or json.
        log_level: debug, info, warning or error.
        log_calls: Which calls have a line in the log: none, failed or all.
        otlp_endpoint: URL of the collector of spans; None leaves it to the standard OTEL_* variables.
    """

    model: Path
    name: str | None = None
    version: int | None = None
    host: str = "127.0.0.1"
    port: int = 50051
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464
    insecure_listen: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token_file: Path | None = None
    threads: int | None = None
    nice: int = 10
    max_rows: int = 16_384
    max_columns: int = 4_096
    max_samples: int = 4_096
    max_message_bytes: int = 16 * 2**20
    max_queue_rows: int = 262_144
    max_queue_bytes: int | None = None
    max_queue_seconds: float = 60.0
    max_calls: int = 1_024
    max_streams: int = 256
    reply_timeout: float = 30.0
    grace: float = 10.0
    log_format: str = "text"
    log_level: str = "info"
    log_calls: str = "failed"
    otlp_endpoint: str | None = None

    def __post_init__(self) -> None:
        """Check what one field alone, or two together, may not be."""
        for name in ("port", "metrics_port"):
            _check_range(name, getattr(self, name), 0, 65_535)
        for name in ("max_rows", "max_columns", "max_samples", "max_queue_rows", "max_calls", "max_streams"):
            _check_range(name, getattr(self, name), 1, 2**31 - 1)
        _check_range("nice", self.nice, 0, 19)
        _check_range("max_message_bytes", self.max_message_bytes, 4_096, 2**31 - 1)
        _check_range("max_queue_bytes", self.queue_bytes, self._most_bytes_of_a_request, 2**63 - 1)
        if self.version is not None:
            _check_range("version", self.version, 1, 2**31 - 1)
        if self.threads is not None:
            _check_range("threads", self.threads, 1, 1_024)
        _check_seconds("grace", self.grace, 0)
        _check_seconds("reply_timeout", self.reply_timeout, 0.1)
        _check_seconds("max_queue_seconds", self.max_queue_seconds, 0.1)
        for name, allowed in _WORDS.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.otlp_endpoint is not None:
            check_endpoint(self.otlp_endpoint)
        if self.max_queue_rows < self.max_rows:
            raise ConfigError(
                f"max_queue_rows is {self.max_queue_rows}, less than max_rows, {self.max_rows}: "
                "the largest request could never be admitted"
            )
        if self.port == self.metrics_port != 0 and self.host == self.metrics_host:
            raise ConfigError(f"port and metrics_port are both {self.port}; give each its own")
        if not 0 < len(self.model_name) <= _LONGEST_NAME or not self.model_name.isprintable():
            raise ConfigError(
                f"a model's name must have 1 to {_LONGEST_NAME} printable characters; set another by name"
            )
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key belong together; give both, or neither for plaintext")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError("tls_client_ca asks clients for certificates, which needs tls_cert and tls_key")
        if self.plaintext_beyond_loopback and not self.insecure_listen:
            raise ConfigError(
                f"host {self.host} is reachable from other machines, and the service would speak plaintext to them; "
                "keep it on 127.0.0.1, pass --tls-cert and --tls-key, or --insecure-listen if the network is trusted"
            )

    @property
    def plaintext_beyond_loopback(self) -> bool:
        """Whether others on the network could read and change what is sent."""
        return self.tls_cert is None and not _is_loopback(self.host)

    @property
    def queue_bytes(self) -> int:
        """Most bytes of admitted rows."""
        if self.max_queue_bytes is not None:
            return self.max_queue_bytes
        return max(_QUEUE_BYTES, self._most_bytes_of_a_request)

    @property
    def _most_bytes_of_a_request(self) -> int:
        """A cell takes 2 bytes in a message at least, and 8 while it waits."""
        return 4 * self.max_message_bytes

    @property
    def model_name(self) -> str:
        """The name given, or the directory's: NAME of ``models/NAME`` and of ``models/NAME/3``."""
        if self.name is not None:
            return self.name
        path = self.model.resolve()
        return path.parent.name if _is_version(path.name) else path.name

    @property
    def model_version(self) -> str:
        """The version given, or the directory's name if it is an integer, otherwise 1."""
        if self.version is not None:
            return str(self.version)
        name = self.model.resolve().name
        return str(int(name)) if _is_version(name) else "1"


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= 18


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must lie between {low} and {high}, got {value}")


def _check_seconds(name: str, value: float, low: float) -> None:
    if not low <= value <= _MOST_SECONDS:  # not true of NaN either
        raise ConfigError(f"{name} must lie between {low:g} and {_MOST_SECONDS} seconds, got {value}")


def _is_loopback(host: str) -> bool:
    """Whether every address that the host stands for is this machine's own."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host {host!r} is no address of this machine: {error}") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
