"""The options of the gRPC server that keep one peer from using up connections, memory or descriptors."""

from __future__ import annotations

import resource

from anomaly_vae.service.settings import ServeConfig

__all__ = ["max_connections", "max_http_connections", "server_options"]

# Descriptors kept free for the model, the log, and /metrics with its clients (at most 184, see http/listener.py).
_RESERVED_DESCRIPTORS = 256
# Chosen, not measured: below the lower bound a service is of little use, above the upper one memory is the limit.
_MIN_CONNECTIONS = 64
_MAX_CONNECTIONS = 65_536
# The part of them that HTTP gets, if it is on. Chosen, not measured.
_HTTP_PART = 0.25


def server_options(config: ServeConfig) -> list[tuple[str, int]]:
    """Return the options of the gRPC server. The times and sizes without a setting are chosen, not measured."""
    options = [
        # A second server on the port must fail, not share it. Workers share it; their supervisor keeps others away.
        ("grpc.so_reuseport", int(config.workers > 1)),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),  # max_rows limits a reply
        ("grpc.max_concurrent_streams", config.max_streams),
        ("grpc.max_metadata_size", 16_384),
        ("grpc.max_allowed_incoming_connections", max_connections(with_http=config.http_port is not None)),
        ("grpc.server_handshake_timeout_ms", 10_000),  # a connection may be silent for 10 s after it opens
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    if config.max_connection_age is not None:  # gRPC varies it by 10 %, so that clients do not all return at once
        options += [
            ("grpc.max_connection_age_ms", round(1000 * config.max_connection_age)),
            ("grpc.max_connection_age_grace_ms", round(1000 * config.max_connection_age_grace)),
        ]
    return options


def max_connections(*, with_http: bool = False) -> int:
    """Return the most connections of gRPC, which leave enough descriptors for the rest: /livez needs some to answer."""
    return _most() - (max_http_connections() if with_http else 0)


def max_http_connections() -> int:
    """Return the most connections of the Open Inference Protocol over HTTP."""
    return int(_HTTP_PART * _most())


def _most() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(max(soft - _RESERVED_DESCRIPTORS, _MIN_CONNECTIONS), _MAX_CONNECTIONS)
