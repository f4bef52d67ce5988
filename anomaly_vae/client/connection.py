"""The settings of a connection, checked once: the address, TLS, the token, the timeout and the retries."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import grpc

from anomaly_vae.client.credentials import Tls, bearer, channel_credentials
from anomaly_vae.client.target import Target, parse_target
from anomaly_vae.errors import ConfigError

__all__ = ["ConnectionSettings", "connection_settings"]

# gRPC cannot represent much longer timeouts; a longer one (over 31 years) means no timeout.
_MAX_TIMEOUT_S = 1e9


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """What both clients need to open a channel and to send calls.

    Attributes:
        target: The address.
        credentials: TLS credentials; None for plaintext.
        metadata: Sent with every call: the token, if there is one.
        options: Options of the gRPC channel.
        model_name, model_version: The expected model; empty for any.
        timeout: Seconds for one call with all its retries; None for no limit.
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


def connection_settings(
    target: str,
    *,
    model_name: str,
    model_version: str | int,
    timeout: float | None,
    retries: int | None,
    tls: Tls | None,
    token: str | None,
) -> ConnectionSettings:
    """Check the arguments of a client (see :class:`anomaly_vae.client.Client`) and return its settings.

    Raises:
        ConfigError: An argument is wrong, or a file of ``tls`` cannot be used.
    """
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be a positive number of seconds, or None for no limit, got {timeout!r}")
    if retries is not None and retries < 0:
        raise ConfigError(f"retries must be 0 or more, or None for as many as the timeout allows, got {retries!r}")
    parsed = parse_target(target, with_tls=tls is not None)
    tls = tls or Tls()
    return ConnectionSettings(
        target=parsed,
        credentials=channel_credentials(tls) if parsed.secure else None,
        metadata=bearer(token, parsed),
        options=_options(parsed, tls),
        model_name=model_name or parsed.model_name,
        model_version=str(model_version) or parsed.model_version,
        timeout=None if timeout is None or min(timeout, math.inf) > _MAX_TIMEOUT_S else timeout,
        retries=retries,
    )


def _options(target: Target, tls: Tls) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # Each client has a connection of its own, and so reaches any worker of the service. By default gRPC gives all
        # clients of a process the same connection.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),  # the client retries itself; gRPC's retries would multiply with them
        # Time between attempts to connect. gRPC's default grows to two minutes, far longer than a restart takes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # Time for one attempt to connect, which usually takes milliseconds. With gRPC's default of 20 s the reason for
        # a failure would come late if the host drops packets.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        # By default gRPC looks a name up every 30 s at most; a service that restarts may have another address.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
    if target.is_loopback:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy from the environment would leave this machine
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options
