"""The options of the gRPC server, and how many connections it may have."""

import resource
from pathlib import Path

import grpc
import psutil
import pytest

from anomaly_vae.service import transport
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.transport import max_connections, server_options
from tests.support.callers import QueueOfRequests
from tests.support.data import make_rows
from tests.support.running import eventually, fault_of, running, score, tensor


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


def test_the_age_of_a_connection_is_unlimited_unless_it_is_set():
    config = ServeConfig(model=Path("m"), max_connection_age=1.5, max_connection_age_grace=0.5)
    assert dict(server_options(config))["grpc.max_connection_age_ms"] == 1_500
    assert dict(server_options(config))["grpc.max_connection_age_grace_ms"] == 500
    assert not [
        name for name, _ in server_options(ServeConfig(model=Path("m"))) if "age" in name and "mess" not in name
    ]


def test_a_client_sees_no_error_when_its_connections_get_too_old(model_path):
    """The service asks it to connect again, and answers the calls of the old connection."""
    ports, request = set(), {"tensor": tensor(make_rows(2, seed=1))}

    def calls_from_three_connections():
        score(channel, **request)
        connections = psutil.Process().net_connections("tcp")
        ports.update(found.laddr.port for found in connections if found.raddr and found.raddr.port == service.port)
        return len(ports) >= 3

    with running(model_path, "--max-connection-age", 1) as service, service.channel() as channel:
        eventually(calls_from_three_connections)
        assert service.metric("grpc_server_handled_total", grpc_method="Score") == service.metric(
            "grpc_server_handled_total", grpc_method="Score", grpc_code="OK"
        )


def test_a_stream_that_outlives_its_connection_is_cut_off_after_the_grace(model_path):
    options = ("--max-connection-age", 1, "--max-connection-age-grace", 0.1)
    requests = QueueOfRequests()
    with running(model_path, *options) as service, service.channel() as channel:
        stream = channel.stream_stream("/anomaly_vae.v1.ScoringService/ScoreStream")(requests, timeout=20)
        assert fault_of(next, stream)[0] is grpc.StatusCode.UNAVAILABLE
    requests.put(None)


def test_only_workers_share_the_port():
    for workers in (1, 2):
        options = dict(server_options(ServeConfig(model=Path("m"), workers=workers)))
        assert options["grpc.so_reuseport"] == (workers > 1)
