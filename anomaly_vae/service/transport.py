"""What gRPC is told of connections, so that nobody on the network can take what belongs to all."""

from __future__ import annotations

import resource

from anomaly_vae.service.config import ServeConfig

__all__ = ["channel_options", "most_connections"]

# Descriptors that are not connections of gRPC: the model's, the log's, those of /metrics and its clients.
_OTHER_DESCRIPTORS = 256
_FEWEST_CONNECTIONS = 64
_MOST_CONNECTIONS = 65_536


def channel_options(config: ServeConfig) -> list[tuple[str, int]]:
    """Options of the server."""
    return [
        ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),  # max_rows bounds a reply
        ("grpc.max_concurrent_streams", config.max_streams),
        ("grpc.max_metadata_size", 16_384),
        ("grpc.max_allowed_incoming_connections", most_connections()),
        ("grpc.server_handshake_timeout_ms", 10_000),  # for so long may a connection say nothing
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def most_connections() -> int:
    """As many as leave descriptors for the rest: out of them, not even /livez would answer."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(max(soft - _OTHER_DESCRIPTORS, _FEWEST_CONNECTIONS), _MOST_CONNECTIONS)
