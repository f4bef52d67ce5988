"""The settings of the service. ``anomaly-vae serve`` makes its options from them."""

# ruff: noqa: RUF009 (the functions in the defaults of ServeConfig make dataclass fields)

from __future__ import annotations

import functools
import ipaddress
import socket
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints
from urllib.parse import urlsplit

from anomaly_vae.errors import ConfigError

__all__ = ["Option", "ServeConfig", "Setting", "settings"]

_MAX_NAME_LENGTH = 128  # characters; chosen, not measured: the name is a label of metrics and part of log lines
_MAX_SECONDS = 3_600.0  # chosen, not measured
_MAX_INT32 = 2**31 - 1  # of protobuf's int32 and gRPC's channel options
_DEFAULT_QUEUE_BYTES = 256 * 2**20  # chosen, not measured: memory for waiting rows against refusals


@dataclass(frozen=True)
class Option:
    """The help text and the limits of a field.

    Attributes:
        help: The text of ``--help``.
        low, high: Smallest and largest value.
        choices: The allowed words.
        metavar: Name of the value in ``--help``; None takes the type's, or the choices.
        shown: How ``--help`` describes the default of None.
        flag: The option's name; None takes the field's.
    """

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    shown: str | None = None
    flag: str | None = None

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError if a value is outside the limits or not one of the choices."""
        if self.choices and value not in self.choices:
            raise ConfigError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:  # also for NaN
            unit = " seconds" if isinstance(value, float) else ""
            raise ConfigError(f"{name} must lie between {self.low:.15g} and {self.high:.15g}{unit}, got {value}")


def _option(default: Any, help_: str, **more: Any) -> Any:
    """Make a field with a default and its :class:`Option`."""
    return field(default=default, metadata={"option": Option(help_, **more)})


def _size(default: int, help_: str, low: int = 1) -> Any:
    return _option(default, help_, low=low, high=_MAX_INT32)


def _seconds(default: float, help_: str, low: float = 0.1) -> Any:
    return _option(default, help_, low=low, high=_MAX_SECONDS)


def _word(default: str, help_: str, *choices: str) -> Any:
    return _option(default, help_, choices=choices)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """The settings of one service, checked when it is made: ConfigError if a value cannot be used.

    ``model`` is the bundle to serve. The other fields are described by their help texts; None stands for the default
    that the text describes. The defaults of sizes and times are chosen, not measured.
    """

    model: Path
    name: str | None = _option(None, "Name of the model for clients.", shown="NAME of models/NAME or models/NAME/3")
    version: int | None = _option(
        None,
        "Version of the model for clients.",
        low=1,
        high=_MAX_INT32,
        shown="3 of models/NAME/3, otherwise 1",
        flag="model-version",
    )
    host: str = _option("127.0.0.1", "Address of gRPC.")
    port: int = _option(50051, "Port of gRPC; 0 takes a free one.", low=0, high=65_535)
    metrics_host: str = _option("127.0.0.1", "Address of /metrics, /livez and /readyz.")
    metrics_port: int = _option(9464, "Port of these; 0 takes a free one.", low=0, high=65_535)
    insecure_listen: bool = _option(False, "Allow gRPC in plaintext beyond loopback.")
    tls_cert: Path | None = _option(None, "Certificate chain, PEM: turns TLS on. A replaced file needs no restart.")
    tls_key: Path | None = _option(None, "Private key of the certificate, PEM.")
    tls_client_ca: Path | None = _option(
        None, "Authorities of clients, PEM: clients must show a certificate that one of them signed."
    )
    token_file: Path | None = _option(None, "Tokens of clients, made by `anomaly-vae token`: clients must send one.")
    threads: int | None = _option(None, "Compute threads.", low=1, high=1_024, shown="all cores")
    nice: int = _option(10, "Niceness of the compute threads, 0 to 19: higher lets others run first.", low=0, high=19)
    max_rows: int = _size(16_384, "Most rows in a request.")
    max_columns: int = _size(4_096, "Most named columns in a request.")
    max_samples: int = _size(4_096, "Most samples per row that a request may request.")
    max_message_bytes: int = _size(16 * 2**20, "Most bytes in a request.", low=4_096)
    # A caller has at most a quarter of the rows, bytes and calls that may wait. Half of them are kept for callers that
    # have none waiting.
    max_queue_rows: int = _size(262_144, "Most rows that are admitted and not yet scored.")
    max_queue_bytes: int | None = _option(
        None, "Most bytes of those rows.", shown="256 MiB, or what the largest request needs"
    )
    max_queue_seconds: float = _seconds(60.0, "Most seconds of work that waits, at the measured speed.")
    max_calls: int = _size(1_024, "Most calls at a time.")
    max_streams: int = _size(256, "Most calls at a time on one connection.")
    reply_timeout: float = _seconds(30.0, "Seconds that a client may take to read a reply.")
    grace: float = _seconds(10.0, "Seconds for admitted calls to finish after SIGTERM.", low=0.0)
    log_format: str = _word("text", "Format of the log.", "text", "json")
    log_level: str = _word("info", "Lowest level that is logged.", "debug", "info", "warning", "error")
    log_calls: str = _word("failed", "Which calls get a line in the log.", "none", "failed", "all")
    otlp_endpoint: str | None = _option(
        None, "Collector of OpenTelemetry spans (gRPC); needs the [otel] extra.", metavar="URL"
    )

    def __post_init__(self) -> None:
        """Check each value alone, then values that depend on each other."""
        for setting in settings():
            value = getattr(self, setting.field)
            if value is not None:
                setting.option.check(setting.field, value)
        self._check_queue()
        self._check_name()
        self._check_addresses()
        if self.otlp_endpoint is not None:
            _check_endpoint(self.otlp_endpoint)

    def _check_queue(self) -> None:
        low, high = self._max_request_bytes, 2**63 - 1
        if not low <= self.queue_bytes <= high:
            raise ConfigError(f"max_queue_bytes must lie between {low} and {high}, got {self.queue_bytes}")
        if self.max_queue_rows < self.max_rows:
            raise ConfigError(
                f"max_queue_rows is {self.max_queue_rows}, less than max_rows, {self.max_rows}: "
                "the largest request could never be admitted"
            )

    def _check_name(self) -> None:
        if not 0 < len(self.model_name) <= _MAX_NAME_LENGTH or not self.model_name.isprintable():
            raise ConfigError(
                f"a model's name must have 1 to {_MAX_NAME_LENGTH} printable characters; set another by name"
            )

    def _check_addresses(self) -> None:
        if self.port == self.metrics_port != 0 and self.host == self.metrics_host:
            raise ConfigError(f"port and metrics_port are both {self.port}; choose two different ports")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key belong together; give both, or neither for plaintext")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError("tls_client_ca makes clients show certificates, which needs tls_cert and tls_key")
        if self.plaintext_beyond_loopback and not self.insecure_listen:
            raise ConfigError(
                f"host {self.host} is reachable from other machines, and the service would speak plaintext to them; "
                "keep it on 127.0.0.1, pass --tls-cert and --tls-key, or --insecure-listen if the network is trusted"
            )

    @property
    def plaintext_beyond_loopback(self) -> bool:
        """Whether others on the network can read and change what is sent."""
        return self.tls_cert is None and not _is_loopback(self.host)

    @property
    def queue_bytes(self) -> int:
        """Most bytes of rows admitted and not yet scored."""
        if self.max_queue_bytes is not None:
            return self.max_queue_bytes
        return max(_DEFAULT_QUEUE_BYTES, self._max_request_bytes)

    @property
    def _max_request_bytes(self) -> int:
        """Most bytes of one request's rows while they wait: a cell takes 1 byte or more in a message, 8 in memory."""
        return 8 * self.max_message_bytes

    @property
    def model_name(self) -> str:
        """The given name, or the directory's: NAME of ``models/NAME`` and of ``models/NAME/3``."""
        if self.name is not None:
            return self.name
        path = self.model.resolve()
        return path.parent.name if _is_version(path.name) else path.name

    @property
    def model_version(self) -> str:
        """The given version, or the directory's name if it is an integer, otherwise 1."""
        if self.version is not None:
            return str(self.version)
        name = self.model.resolve().name
        return str(int(name)) if _is_version(name) else "1"


class Setting(NamedTuple):
    """A field of ServeConfig that is an option.

    Attributes:
        field: The field's name.
        type: The field's type, without None.
        default: The field's default.
        option: The rest.
    """

    field: str
    type: type[Any]
    default: Any
    option: Option


@functools.cache
def settings() -> tuple[Setting, ...]:
    """Return the options among the fields of ServeConfig, in their order."""
    hints = get_type_hints(ServeConfig)
    return tuple(
        Setting(found.name, _without_none(hints[found.name]), found.default, found.metadata["option"])
        for found in fields(ServeConfig)
        if "option" in found.metadata
    )


def _without_none(kind: Any) -> type[Any]:
    """Return T of ``T | None`` and of ``T``."""
    found: type[Any] = next((part for part in get_args(kind) if part is not NoneType), kind)
    return found


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= 18


def _is_loopback(host: str) -> bool:
    """Return whether all addresses of a host are loopback addresses."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host {host!r} is no address of this machine: {error}") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _check_endpoint(url: str) -> None:
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
