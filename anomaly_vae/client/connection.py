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
        retries: How often a call is sent again.
    """

    target: Target
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    options: list[tuple[str, int | str]]
    model_name: str
    model_version: str
    timeout: float | None
    retries: int


def connection_to(
    target: str,
    *,
    model_name: str,
    model_version: str,
    timeout: float | None,
    retries: int,
    tls: Tls | None,
    token: str | None,
) -> Connection:
    """Check what a client is given; its docstring tells what each is.

    Raises:
        ConfigError: One of them cannot be.
    """
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be a positive number of seconds, or None for ever, got {timeout!r}")
    if retries < 0:
        raise ConfigError(f"retries must be 0 or more, got {retries!r}")
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
        # While it waits to connect again, gRPC fails every call at once: our retries would come to nothing.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if target.is_loopback:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy of the environment leads off this machine
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options
