"""Probes are answered at once, whatever else many clients send to the metrics port."""

import asyncio
import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from prometheus_client import CollectorRegistry

from anomaly_vae.errors import StartupError
from anomaly_vae.service.http.listener import HttpListener
from tests.support import flood
from tests.support.running import AS_INSTALLED, running

HALF = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n"
MOST_DESCRIPTORS = 220  # for 184 connections, and some more that are closed in a moment


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path, command=AS_INSTALLED) as service:
        yield service


async def good():
    return True, "good"


@contextlib.contextmanager
def serving(host="127.0.0.1", port=0):
    server = HttpListener(host, port, CollectorRegistry(), alive=good, ready=good)
    try:
        yield server
    finally:
        server.close()


def connect(port, source="127.0.0.1"):
    client = socket.socket()
    client.settimeout(30)
    client.bind((source, 0))
    client.connect(("127.0.0.1", port))
    return client


def everything_from(client):
    return b"".join(iter(lambda: client.recv(65_536), b""))


def answer_to(port, request):
    """The bytes of the reply."""
    with connect(port) as client:
        client.sendall(request)
        return everything_from(client)


def seconds_to_answer(port, path):
    began = time.monotonic()
    answer = answer_to(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    return time.monotonic() - began


def test_probes_and_paths(service):
    assert service.get("/livez") == (200, "alive\n")
    assert service.get("/readyz") == (200, "ready\n")
    assert service.get("/") == (404, "see /metrics, /livez and /readyz\n")
    assert service.get("/metrics", method="POST")[0] == 405
    port = service.metrics_port
    assert answer_to(port, b"HEAD /metrics HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")
    assert answer_to(port, b"HEAD /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")
    assert answer_to(port, b"GET /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nalive\n")
    text = service.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")[1]
    assert text.endswith("# EOF\n")
    assert service.get("/metrics", Accept="application/openmetrics-text; version=abc")[0] == 200


@contextlib.contextmanager
def flooded(port, count):
    """Keep ``count`` half-sent requests open. Open another for each that the server closes."""
    command = [sys.executable, flood.__file__, str(port), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "open\n"
            yield
        finally:
            process.stdin.close()
            process.wait(30)


def descriptors_of(service):
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
@pytest.mark.parametrize("count", [400, 2_000])
def test_half_sent_requests_delay_no_probe(service, count):
    before = descriptors_of(service)
    seconds, descriptors = [], 0
    with flooded(service.metrics_port, count):
        for _ in range(15):
            for path in ("/readyz", "/livez", "/metrics"):
                seconds.append(seconds_to_answer(service.metrics_port, path))
                descriptors = max(descriptors, descriptors_of(service))
    del seconds[2::3]  # a page may take a second
    assert sorted(seconds)[len(seconds) // 2] < 1
    assert descriptors - before < MOST_DESCRIPTORS
    until = time.monotonic() + 30
    while descriptors_of(service) > before:
        assert time.monotonic() < until, "descriptors are not given back"
        time.sleep(0.05)


def test_many_connections_of_one_address_replace_each_other(service):
    """A single connection from one address stays open while hundreds come later from another address."""
    with contextlib.ExitStack() as stack:

        def crowd():
            for _ in range(150):
                stack.enter_context(connect(service.metrics_port)).sendall(HALF)

        crowd()
        alone = stack.enter_context(connect(service.metrics_port, source="127.0.0.2"))
        alone.sendall(HALF)
        crowd()
        alone.sendall(b"\r\n")
        assert everything_from(alone).endswith(b"\r\n\r\nready\n")


def test_slow_http_clients_do_not_block_others(service):
    """Without a limit on the total time, one byte a second would keep a connection open for ever."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", service.metrics_port))) for _ in range(60)
        ]
        until = time.monotonic() + 20
        while clients:
            assert service.get("/livez") == (200, "alive\n")
            clients = [client for client in clients if still_open(client)]
            assert time.monotonic() < until
            time.sleep(0.5)


def still_open(client):
    client.settimeout(0.001)
    try:
        client.send(b"G")
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_descriptors_cannot_be_used_up(model_path):
    """More half-sent HTTP requests and gRPC connections than descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        started = running(model_path, command=AS_INSTALLED)
        service = started.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as stack:
        stack.push(started)
        for _ in range(500):
            stack.enter_context(connect(service.port))
            stack.enter_context(connect(service.metrics_port)).sendall(HALF)
        for _ in range(10):
            seconds_to_answer(service.metrics_port, "/livez")
            seconds_to_answer(service.metrics_port, "/readyz")
        assert descriptors_of(service) < 400


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the limits of another process")
def test_without_a_free_descriptor_it_waits_for_one(service):
    process = psutil.Process(service.process.pid)
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (descriptors_of(service), limits[1]))
    try:
        with connect(service.metrics_port) as client:
            client.sendall(HALF + b"\r\n")
            before = sum(process.cpu_times()[:2])
            time.sleep(2)
            assert sum(process.cpu_times()[:2]) - before < 1, "it retries without a pause"
            process.rlimit(psutil.RLIMIT_NOFILE, limits)
            assert everything_from(client).endswith(b"ready\n")
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),  # without a host
        (b"GET //[ HTTP/1.0\r\n\r\n", 400),
        (b"GET /livez HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.0\r\nX: " + b"a" * 30_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.0\r\n" + b"X: a\r\n" * 5_000 + b"\r\n", 431),
        (b"GET /" + b"a" * 30_000 + b" HTTP/1.0\r\n\r\n", 431),
        (b"GET /%6cive HTTP/1.0\r\n\r\n", 404),
        (b"OPTIONS /metrics HTTP/1.0\r\n\r\n", 405),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 200),
        (b"POST /metrics HTTP/1.0\r\nContent-Length: 300000\r\n\r\n" + b"a" * 300_000, 405),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET http://localhost/%6civez?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"HEAD /readyz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\n", 200),
    ],
)
def test_every_request_is_answered(request_, status, caplog):
    with serving() as server:
        assert answer_to(server.port, request_).split()[:2] == [b"HTTP/1.1", str(status).encode()]
        assert answer_to(server.port, b"GET /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\ngood\n")
    assert not caplog.records


def test_a_client_that_closes_its_connection_does_no_harm(caplog):
    with serving() as server:
        for part in (b"", b"G", HALF, HALF + b"\r\n", b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n"):
            for how in (socket.SHUT_WR, socket.SHUT_RDWR):
                with connect(server.port) as client:
                    client.sendall(part)
                    client.shutdown(how)
        seconds_to_answer(server.port, "/livez")
    assert not caplog.records


def test_a_probe_that_fails_is_logged_and_the_next_is_answered(caplog):
    async def bad():
        raise ValueError("of ours")

    server = HttpListener("127.0.0.1", 0, CollectorRegistry(), alive=good, ready=bad)
    assert answer_to(server.port, b"GET /readyz HTTP/1.0\r\n\r\n") == b""
    assert answer_to(server.port, b"GET /livez HTTP/1.0\r\n\r\n").endswith(b"good\n")
    server.close()
    assert caplog.messages == ["HTTP failed with ValueError"]


def test_close_ends_all_connections_and_the_thread():
    asked, threads = threading.Event(), threading.active_count()

    async def never():
        asked.set()
        await asyncio.Event().wait()

    server = HttpListener("127.0.0.1", 0, CollectorRegistry(), alive=never, ready=good)
    port = server.port
    with connect(port) as silent, connect(port) as half, connect(port) as waiting:
        half.sendall(HALF)
        waiting.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert asked.wait(30)
        server.close()
        for client in (silent, half, waiting):
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""
    server.close()
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with serving(port=port) as server:
        assert server.port == port


def test_it_listens_on_ipv6():
    with serving(host="::1") as server, socket.create_connection(("::1", server.port), timeout=30) as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert everything_from(client).endswith(b"good\n")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.1", "Cannot assign requested address"),
        ("a" * 70, "label .*too long"),
        ("127.0.0.1", "Address already"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(host, reason):
    with serving() as taken, pytest.raises(StartupError) as error:
        HttpListener(host, taken.port, CollectorRegistry(), alive=good, ready=good)
    assert re.fullmatch(f"cannot listen on {host}, port {taken.port}, for metrics: .*{reason}.*", str(error.value))
