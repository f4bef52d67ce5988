"""The settings of a connection, checked once: where to, how, and as whom."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import grpc

from anomaly_vae.client.credentials import Tls, bearer, channel_credentials
from anomaly_vae.client.target import Target, parse_target
from anomaly_vae.errors import ConfigError

__all__ = ["Connection", "connection_to"]

_MOST_SECONDS = 1e9  # gRPC cannot count much further; whoever asks for more means for ever


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What both clients open a channel with, and send with every call.

    Attributes:
        target: Where to.
        credentials: Those of TLS; None for plaintext.
        metadata: What goes with every call: the token, where there is one.
        options: Those of the channel.
        model_name, model_version: The model meant; empty for whatever is served.
        timeout: Seconds that a call may take, with all its retries; None for ever.
        retries: How often a call is sent again at most; None for as often as the timeout allows.
    """

    target: Target
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    options: list[tuple[str, int | str]]
    model_name: str
    model_version: str
    timeout: float | None
    retries: int | None


def connection_to(
    target: str,
    *,
    model_name: str,
    model_version: str,
    timeout: float | None,
    retries: int | None,
    tls: Tls | None,
    token: str | None,
) -> Connection:
    """Check what a client is given; its docstring tells what each is.

    Raises:
        ConfigError: One of them cannot be.
    """
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be a positive number of seconds, or None for ever, got {timeout!r}")
    if retries is not None and retries < 0:
        raise ConfigError(f"retries must be 0 or more, or None for as many as the timeout allows, got {retries!r}")
    found = parse_target(target, with_tls=tls is not None)
    tls = tls or Tls()
    return Connection(
        target=found,
        credentials=channel_credentials(tls) if found.secure else None,
        metadata=bearer(token, found),
        options=_options(found, tls),
        model_name=model_name,
        model_version=model_version,
        timeout=None if timeout is None or min(timeout, math.inf) > _MOST_SECONDS else timeout,
        retries=retries,
    )


def _options(target: Target, tls: Tls) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),  # ours are the only ones, or they would multiply
        # Between attempts to connect. By default they would grow to two minutes, and the service be back long before.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # For one attempt, which takes milliseconds where somebody listens. By default 20 s: as long, a host that drops
        # packets would give no reason.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        # By default a name is looked up every 30 s at most; a service that restarts may have another address.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
    if target.is_loopback:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy of the environment leads off this machine
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options
