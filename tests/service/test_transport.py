"""The options of the gRPC server, and how many connections it may have."""

import resource
from pathlib import Path

import pytest

from anomaly_vae.service import transport
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.transport import max_connections, server_options


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [
        (1, 64),
        (256 + 64, 64),
        (256 + 65, 65),
        (1_024, 768),
        (65_536 + 255, 65_535),
        (1_048_576, 65_536),
        (resource.RLIM_INFINITY, 65_536),
    ],
)
def test_connections_leave_256_descriptors_for_the_rest(monkeypatch, descriptors, connections):
    monkeypatch.setattr(transport.resource, "getrlimit", lambda _: (descriptors, resource.RLIM_INFINITY))
    assert max_connections() == connections
    assert dict(server_options(ServeConfig(model=Path("m"))))["grpc.max_allowed_incoming_connections"] == connections


def test_the_limits_of_a_request_are_those_of_the_settings_and_every_option_is_set_once():
    options = server_options(ServeConfig(model=Path("m"), max_message_bytes=5_000, max_streams=7))
    assert len(dict(options)) == len(options)
    assert dict(options)["grpc.max_receive_message_length"] == 5_000
    assert dict(options)["grpc.max_concurrent_streams"] == 7
    assert dict(options)["grpc.so_reuseport"] == 0
