"""The settings of the service. ``anomaly-vae serve`` makes its options from them."""

# ruff: noqa: RUF009 (the functions in the defaults of ServeConfig make dataclass fields)

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import unquote, urlsplit

from anomaly_vae.errors import ConfigError
from anomaly_vae.remote.address import is_url
from anomaly_vae.service.addresses import check_endpoint, is_loopback
from anomaly_vae.service.option import MAX_INT32, Option, option, seconds, size, word

__all__ = ["MAX_NAME_LENGTH", "Option", "ServeConfig", "Setting", "settings"]

MAX_NAME_LENGTH = 128  # characters; chosen, not measured: the name is a label of metrics and part of log lines
_DEFAULT_QUEUE_BYTES = 256 * 2**20  # chosen, not measured: memory for waiting rows against refusals


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """The settings of one service, checked when it is made: ConfigError if a value cannot be used.

    ``model`` is what to serve: a bundle, a folder of versions or a folder of models, as a path or as a URL. The other
    fields are described by their help texts; None stands for the default that the text describes. The defaults of sizes
    and times are chosen, not measured.
    """

    model: Path | str
    name: str | None = option(None, "Name of the model for clients.", shown="NAME of models/NAME or models/NAME/3")
    version: int | None = option(
        None,
        "Version of the model for clients.",
        low=1,
        high=MAX_INT32,
        shown="3 of models/NAME/3, otherwise 1",
        flag="model-version",
    )
    versions: tuple[str, ...] = option(
        ("latest:1",),
        "Versions to serve of a folder of models: latest:N, all, or NAME=3,5 and NAME=latest:2 for one model. Repeat "
        "it for several.",
        metavar="POLICY",
    )
    model_control: str = word(
        "poll",
        "What changes the served models: poll looks for new and removed versions; explicit waits for calls of the Open "
        "Inference Protocol, and for SIGHUP.",
        "poll",
        "explicit",
    )
    poll_seconds: float = seconds(10.0, "Seconds between two looks for new versions.")
    canary: tuple[str, ...] = option(
        (),
        "Give a version a share of the requests that name no version: fraud=4:0.05. Repeat it for several models.",
        metavar="NAME=VERSION:SHARE",
    )
    shadow: tuple[str, ...] = option(
        (),
        "Score a share of the rows with another version as well, and compare: fraud=4:0.1. Replies do not wait for it.",
        metavar="NAME=VERSION:SHARE",
    )
    verify_key: Path | None = option(
        None, "Public key, PEM: serve only bundles that `anomaly-vae sign` has signed with its private key."
    )
    cache_dir: Path | None = option(
        None, "Folder for bundles from remote storage.", shown="anomaly-vae in the user's cache folder"
    )
    workers: int = option(
        1,
        "Processes that share the port, for many single rows on several cores. Limits of rows, bytes and calls count "
        "in each of them.",
        low=1,
        high=256,
    )
    host: str = option("127.0.0.1", "Address of gRPC.")
    port: int = option(50051, "Port of gRPC; 0 takes a free one.", low=0, high=65_535)
    metrics_host: str = option("127.0.0.1", "Address of /metrics, /livez and /readyz.")
    metrics_port: int = option(9464, "Port of these; 0 takes a free one.", low=0, high=65_535)
    http_host: str = option("127.0.0.1", "Address of the Open Inference Protocol over HTTP.")
    http_port: int | None = option(
        None, "Port of the Open Inference Protocol over HTTP; 0 takes a free one.", low=0, high=65_535, shown="none"
    )
    insecure_listen: bool = option(False, "Allow requests in plaintext beyond loopback.")
    tls_cert: Path | None = option(None, "Certificate chain, PEM: turns TLS on. A replaced file needs no restart.")
    tls_key: Path | None = option(None, "Private key of the certificate, PEM.")
    tls_client_ca: Path | None = option(
        None, "Authorities of clients, PEM: clients must show a certificate that one of them signed."
    )
    token_file: Path | None = option(None, "Tokens of clients, made by `anomaly-vae token`: clients must send one.")
    threads: int | None = option(
        None, "Compute threads of each worker.", low=1, high=1_024, shown="all cores, divided by the workers"
    )
    nice: int = option(10, "Niceness of the compute threads, 0 to 19: higher lets others run first.", low=0, high=19)
    max_rows: int = size(16_384, "Most rows in a request.")
    max_columns: int = size(4_096, "Most named columns in a request.")
    max_samples: int = size(4_096, "Most samples per row that a request may request.")
    max_message_bytes: int = size(16 * 2**20, "Most bytes in a request.", low=4_096)
    # A caller has at most a quarter of the rows, bytes and calls that may wait. Half of them are kept for callers that
    # have none waiting.
    max_queue_rows: int = size(262_144, "Most rows that are admitted and not yet scored.")
    max_queue_bytes: int | None = option(
        None, "Most bytes of those rows.", shown="256 MiB, or what the largest request needs"
    )
    max_queue_seconds: float = seconds(60.0, "Most seconds of work that waits, at the measured speed.")
    max_calls: int = size(1_024, "Most calls at a time.")
    max_streams: int = size(256, "Most calls at a time on one connection.")
    max_connection_age: float | None = option(
        None,
        "Seconds after which a connection is asked to close, so that clients spread over new replicas.",
        low=1.0,
        high=86_400.0,
        shown="unlimited",
    )
    max_connection_age_grace: float = seconds(
        600.0, "Seconds for the calls of such a connection to finish; longer streams are cut off."
    )
    stream_idle: float = seconds(
        300.0,
        "Seconds that a client may leave a stream without a request or a reply unread, and a call without its message.",
    )
    reply_timeout: float = seconds(30.0, "Seconds that a client may take to read a reply.")
    grace: float = seconds(10.0, "Seconds for admitted calls to finish after SIGTERM.", low=0.0)
    log_format: str = word("text", "Format of the log.", "text", "json")
    log_level: str = word("info", "Lowest level that is logged.", "debug", "info", "warning", "error")
    log_calls: str = word("failed", "Which calls get a line in the log.", "none", "failed", "all")
    otlp_endpoint: str | None = option(
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
            check_endpoint(self.otlp_endpoint)

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
        if not 0 < len(self.model_name) <= MAX_NAME_LENGTH or not self.model_name.isprintable():
            raise ConfigError(
                f"a model's name must have 1 to {MAX_NAME_LENGTH} printable characters; set another by name"
            )

    def _check_addresses(self) -> None:
        addresses = {"port": (self.port, self.host), "metrics_port": (self.metrics_port, self.metrics_host)}
        if self.http_port is not None:
            addresses["http_port"] = self.http_port, self.http_host
        for (one, first), (other, second) in itertools.combinations(addresses.items(), 2):
            if first == second and first[0]:
                raise ConfigError(f"{one} and {other} are both {first[0]}; choose two different ports")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key belong together; give both, or neither for plaintext")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError("tls_client_ca makes clients show certificates, which needs tls_cert and tls_key")
        if self.plaintext_hosts and not self.insecure_listen:
            option = "host" if not is_loopback(self.host) else "http_host"
            raise ConfigError(
                f"{option} {self.plaintext_hosts[0]} is reachable from other machines, and the service would speak "
                "plaintext to them; keep it on 127.0.0.1, pass --tls-cert and --tls-key, or --insecure-listen "
                "if the network is trusted"
            )

    @property
    def plaintext_hosts(self) -> tuple[str, ...]:
        """The addresses where others on the network can read and change what is sent."""
        hosts = (self.host,) if self.http_port is None else (self.host, self.http_host)
        return () if self.tls_cert is not None else tuple(host for host in hosts if not is_loopback(host))

    @property
    def anyone_may_change_models(self) -> bool:
        """Whether callers need no right of their own: there is no token file, and only this machine is listened to."""
        hosts = (self.host,) if self.http_port is None else (self.host, self.http_host)
        return self.token_file is None and all(map(is_loopback, hosts))

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
        above, last = self._last_folders
        return above if _is_version(last) else last

    @property
    def model_version(self) -> str:
        """The given version, or the directory's name if it is an integer, otherwise 1."""
        if self.version is not None:
            return str(self.version)
        _, last = self._last_folders
        return str(int(last)) if _is_version(last) else "1"

    @property
    def _last_folders(self) -> tuple[str, str]:
        """The names of the last two folders of the path, or of the URL after its host or bucket."""
        if is_url(self.model):
            parts = urlsplit(str(self.model))
            names = ["", parts.netloc.rpartition("@")[2], *(unquote(name) for name in parts.path.split("/") if name)]
        else:
            path = Path(self.model).resolve()
            names = [path.parent.name, path.name]
        return names[-2], names[-1]


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
    """Return T of ``T | None`` and of ``T``; tuple of ``tuple[T, ...]``."""
    if get_origin(kind) is tuple:
        return tuple
    found: type[Any] = next((part for part in get_args(kind) if part is not NoneType), kind)
    return found


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= 18
