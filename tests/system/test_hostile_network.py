"""Hostile clients do not stop the service: others get the right bits in time, and its memory stays bounded."""

import contextlib
import gzip
import os
import resource
import socket
import time

import grpc
import h2.settings
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anomaly_vae.service.access.token_file import add_token, make_token
from anomaly_vae.service.pb import scoring_pb2 as pb
from tests.support.callers import stopped_log
from tests.support.certificates import Authority
from tests.support.data import make_rows
from tests.support.running import SERVING, assert_same_bits, fault_of, running, score, tensor
from tests.support.wire import Http2, connect, framed, is_closed

ROWS = make_rows(4, seed=5)
REQUEST = pb.ScoreRequest(tensor=tensor(ROWS)).SerializeToString()
INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 3, 8
CANCEL = 8


@pytest.fixture(scope="module", params=["plaintext", "tls"])
def victim(request, model_path, tmp_path_factory, scorer):
    """A service that has already answered calls, so that its memory has its usual size."""
    authority, options = Authority(), ()
    if request.param == "tls":
        folder = tmp_path_factory.mktemp("tls")
        for name, data in zip(("key", "cert"), authority.issue(), strict=True):
            (folder / name).write_bytes(data)
        (folder / "key").chmod(0o600)
        options = ("--tls-cert", folder / "cert", "--tls-key", folder / "key")
    with running(model_path, *options) as service:
        service.tls = request.param == "tls"
        service.ca = authority.pem
        service.expected = scorer.score(ROWS)
        for _ in range(5):
            assert_serves(service, seconds=60)
        yield service


def good_channel(service):
    options = [("grpc.use_local_subchannel_pool", 1)]
    if not service.tls:
        return grpc.insecure_channel(service.target, options)
    return grpc.secure_channel(service.target, grpc.ssl_channel_credentials(service.ca), options)


def assert_serves(service, seconds=None):
    """A new client gets a score within one second, or within 20 times the usual time on this machine."""
    with good_channel(service) as channel:
        timeout = seconds or max(1.0, 20 * service.seconds)
        assert_same_bits(score(channel, tensor=tensor(ROWS), timeout=timeout), service.expected)


def measure(service):
    """Measure how long a new client waits for a score now, since other work may slow the machine."""
    start = time.monotonic()
    for _ in range(3):
        assert_serves(service, seconds=60)
    service.seconds = (time.monotonic() - start) / 3


@contextlib.contextmanager
def unharmed(service, megabytes=30):
    """Check after an attack that others are served, that memory grew little, and that descriptors are closed."""
    measure(service)
    descriptors = service.metric("process_open_fds")
    memory = service.metric("process_resident_memory_bytes")
    yield
    assert_serves(service)
    assert service.metric("process_resident_memory_bytes") - memory < megabytes * 1e6
    eventually(lambda: service.metric("process_open_fds") <= descriptors, "descriptors are not closed")


def eventually(condition, otherwise, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


def attacker(service, **options):
    return Http2(service.port, service.tls, **options)


def test_random_bytes(victim):
    with unharmed(victim):
        for size in (1, 9, 100, 5_000, 200_000):
            with connect(victim.port, victim.tls) as connection, contextlib.suppress(OSError):
                connection.sendall(os.urandom(size))


def test_random_bytes_below_tls(victim):
    with unharmed(victim):
        for start in (b"", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"):
            with connect(victim.port) as connection, contextlib.suppress(OSError):
                connection.sendall(start + os.urandom(1_000))


def test_http_1(victim):
    with unharmed(victim), connect(victim.port, victim.tls) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert is_closed(connection, 5)


def test_a_broken_frame_after_a_good_start(victim):
    """Frames of HTTP/2 with wrong lengths, kinds and streams."""
    frames = [
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # a window update of nothing
        b"\x00\x00\x05\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # settings of an odd length
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # data of 16 MiB, of no stream
        b"\x00\x00\x10\x01\x04\x00\x00\x00\x01" + b"\xff" * 16,  # headers that are not valid HPACK
        b"\x00\x00\x00\x09\x00\x00\x00\x00\x01",  # the end of headers that never began
    ]
    with unharmed(victim):
        for frame in frames:
            with attacker(victim) as http:
                http.settle()
                http.socket.sendall(frame)
                assert is_closed(http.socket, 5), frame


def test_silent_connections_are_closed(victim):
    with unharmed(victim):
        silent = [connect(victim.port) for _ in range(100)]
        begun = [connect(victim.port, victim.tls) for _ in range(20)]
        for connection in begun:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert_serves(victim)
        assert all(is_closed(connection, 30) for connection in (*silent, *begun))
        for connection in (*silent, *begun):
            connection.close()


def test_a_reader_that_never_reads(victim):
    """Hundreds of requests, and no byte of a reply is read."""
    with unharmed(victim), attacker(victim, receive_buffer=4_096) as http:
        http.settle()
        for _ in range(200):
            http.send(http.open(), framed(REQUEST))
        http.flush()
        time.sleep(1)
        assert_serves(victim)


def test_readers_that_allow_no_reply(victim):
    """They answer pings, so that the connection stays open, and their window for data is 0 bytes."""
    with unharmed(victim), contextlib.ExitStack() as stack:
        for _ in range(3):
            http = stack.enter_context(attacker(victim))
            http.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            http.settle()
            for _ in range(200):
                http.send(http.open(), framed(REQUEST))
            http.flush()
            http.settle()
        assert_serves(victim)


def test_writers_that_stop_after_the_headers(victim):
    """2,000 calls wait for a message that never comes, at most 256 per connection."""
    with unharmed(victim, megabytes=80), contextlib.ExitStack() as stack:
        for _ in range(8):
            http = stack.enter_context(attacker(victim))
            http.settle()
            for _ in range(250):
                http.open()
            http.flush()
        time.sleep(0.5)
        assert_serves(victim)


def test_writers_that_stop_within_a_message(victim):
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        for _ in range(100):
            http.send(http.open(), framed(REQUEST, length=2**23)[:100], end=False)
        http.flush()
        time.sleep(0.5)
        assert_serves(victim)


@pytest.mark.parametrize(
    "headers",
    [
        [("x-large", "a" * 30_000)],
        [(f"x-{i}", "a") for i in range(3_000)],
        [("x-bytes-bin", "AAAA" * 6_000)],
    ],
    ids=["large", "many", "binary"],
)
def test_too_much_metadata(victim, headers):
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        stream = http.open(headers=headers)
        http.send(stream, framed(REQUEST))
        http.flush()
        assert http.status_of(stream)[0] == RESOURCE_EXHAUSTED


def test_headers_that_never_end(victim):
    """CONTINUATION frames without END_HEADERS. A server must not collect them without a limit."""
    block = b"\x40\x01x\x7f\x81\x7f" + b"a" * 256
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        http.socket.sendall(b"\x00\x00\x00\x01\x00\x00\x00\x00\x01")
        frame = len(block * 60).to_bytes(3, "big") + b"\x09\x00\x00\x00\x00\x01" + block * 60
        with contextlib.suppress(OSError):
            for _ in range(2_000):
                http.socket.sendall(frame)
        assert_serves(victim)


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "a moment later"])
def test_calls_cancelled_as_soon_as_they_are_opened(victim, pause):
    """The "rapid reset" attack: a limit of concurrent streams does not limit streams opened one after another."""
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        with contextlib.suppress(OSError):
            for _ in range(100):
                streams = [http.open() for _ in range(50)]
                if pause:
                    http.flush()
                    time.sleep(0.002)
                for stream in streams:
                    http.http.reset_stream(stream, CANCEL)
                http.flush()
        assert_serves(victim)


def test_work_cancelled_as_soon_as_it_is_sent(victim):
    big = pb.ScoreRequest(tensor=tensor(make_rows(300)), max_std_error=1e-9).SerializeToString()
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        with contextlib.suppress(OSError):
            for _ in range(300):
                stream = http.open()
                http.send(stream, framed(big))
                http.http.reset_stream(stream, CANCEL)
                http.flush()
        assert_serves(victim)


def test_floods_of_pings_and_settings(victim):
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"12345678"
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    for frame in (ping, settings):
        with unharmed(victim), attacker(victim) as http, contextlib.suppress(OSError):
            http.settle()
            for _ in range(200):
                http.socket.sendall(frame * 100)
            assert_serves(victim)


@pytest.mark.parametrize("length", [2**32 - 1, 2**24 + 1, len(REQUEST) - 3])
def test_a_message_of_another_length_than_it_says(victim, length):
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        stream = http.open()
        http.send(stream, framed(REQUEST, length=length))
        http.flush()
        code, text = http.status_of(stream)
        assert code in (INVALID_ARGUMENT, RESOURCE_EXHAUSTED), text


def test_truncated_messages_do_no_harm(victim):
    """gRPC does not answer a message that ends too early. The message must not count as work."""
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        for _ in range(200):
            http.send(http.open(), framed(REQUEST, length=len(REQUEST) + 10))
        http.flush()
        time.sleep(0.3)
        assert_serves(victim)


@pytest.mark.parametrize("size", [17 * 2**20, 256 * 2**20])
def test_a_compressed_bomb(victim, size):
    with unharmed(victim, megabytes=60), attacker(victim) as http:
        http.settle()
        stream = http.open(headers=[("grpc-encoding", "gzip")])
        http.send(stream, framed(gzip.compress(bytes(size)), compressed=True))
        http.flush()
        assert http.status_of(stream)[0] == RESOURCE_EXHAUSTED


def test_invalid_compressed_data(victim):
    with unharmed(victim), attacker(victim) as http:
        http.settle()
        for encoding in ("gzip", "deflate", "none-such"):
            stream = http.open(headers=[("grpc-encoding", encoding)])
            http.send(stream, framed(os.urandom(1_000), compressed=True))
            http.flush()
            assert http.status_of(stream)[0] not in (0, "silence")


@contextlib.contextmanager
def reader_that_allows_no_reply(service, calls, headers=()):
    """A client that has sent its calls and has a window of 0 bytes for the replies."""
    with Http2(service.port) as http:
        http.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        http.settle()
        for _ in range(calls):
            http.send(http.open(headers=headers), framed(REQUEST))
        http.flush()
        yield http


def test_calls_without_a_token_do_not_count_against_the_limit(model_path, tmp_path, scorer):
    """Calls without a token are refused before they are read, so they do not count against the limit."""
    token = make_token()
    add_token(tmp_path / "tokens", "friend", token)
    options = ("--token-file", tmp_path / "tokens", "--max-calls", 50)
    with running(model_path, *options) as service, service.channel() as channel, contextlib.ExitStack() as stack:
        friend, start = grpc.intercept_channel(channel, WithToken(token)), time.monotonic()
        score(friend, tensor=tensor(ROWS), timeout=60)
        usual = time.monotonic() - start
        for _ in range(3):
            stack.enter_context(reader_that_allows_no_reply(service, calls=200)).settle()
        assert fault_of(score, channel, tensor=tensor(ROWS))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert_same_bits(score(friend, tensor=tensor(ROWS), timeout=max(1.0, 20 * usual)), scorer.score(ROWS))


class WithToken(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, token):
        self._metadata = (("authorization", f"Bearer {token}"),)

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(details._replace(metadata=self._metadata), request)


def test_calls_with_unread_replies_are_cancelled(model_path, scorer):
    """Unread replies would keep all calls busy for ever, and all other callers would be refused."""
    with running(model_path, "--max-calls", 8, "--reply-timeout", 4) as service, contextlib.ExitStack() as stack:
        service.tls, service.expected = False, scorer.score(ROWS)
        measure(service)
        for _ in range(8):
            stack.enter_context(reader_that_allows_no_reply(service, calls=1))
        with good_channel(service) as channel:
            full, free = grpc.StatusCode.RESOURCE_EXHAUSTED, None
            eventually(lambda: fault_of_score(channel) == full, "the limit of calls was never reached")
            eventually(lambda: fault_of_score(channel) == free, "the calls are not released")
        assert_serves(service)


def test_probes_are_answered_at_the_limit_of_calls(model_path):
    with running(model_path, "--max-calls", 4) as service, contextlib.ExitStack() as stack:
        service.tls = False
        for _ in range(4):
            stack.enter_context(reader_that_allows_no_reply(service, calls=1)).settle()
        with good_channel(service) as channel:
            full = grpc.StatusCode.RESOURCE_EXHAUSTED
            eventually(lambda: fault_of_score(channel) == full, "the limit of calls was never reached")
        assert service.health() == SERVING


def test_greedy_connections_leave_calls_for_others(model_path, scorer):
    """The first gets a quarter of the calls, the next half as many, the others one. Half is kept for new callers."""
    with running(model_path, "--max-calls", 32) as service, contextlib.ExitStack() as stack:
        service.tls, service.expected = False, scorer.score(ROWS)
        measure(service)
        for _ in range(6):
            stack.enter_context(reader_that_allows_no_reply(service, calls=32)).settle()
        refused = 6 * 32 - (8 + 4 + 2 + 1 + 1 + 1)
        eventually(lambda: service.metric("anomaly_vae_rejected_total", reason="queue_full") == refused, "not refused")
        for _ in range(3):
            assert_serves(service)


def test_connections_with_one_token_are_one_caller(model_path, tmp_path):
    token = make_token()
    add_token(tmp_path / "tokens", "greedy", token)
    options = ("--token-file", tmp_path / "tokens", "--max-calls", 8)
    headers = [("authorization", f"Bearer {token}")]
    with running(model_path, *options) as service, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(reader_that_allows_no_reply(service, 8, headers)).settle()
        refused = 3 * 8 - 2  # a quarter of the calls
        eventually(lambda: service.metric("anomaly_vae_rejected_total", reason="queue_full") == refused, "not refused")


def test_idle_connections_are_closed_for_new_ones(model_path, scorer):
    """They complete the HTTP/2 handshake and answer pings. They differ from others only in making no calls."""
    with running_with_descriptors(model_path, 400) as service, contextlib.ExitStack() as stack:
        service.tls, service.expected = False, scorer.score(ROWS)
        with service.channel() as busy:
            watch = health_pb2_grpc.HealthStub(busy).Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == SERVING
            for _ in range(150):  # more than the limit of 144
                stack.enter_context(attacker(service))
            with good_channel(service) as channel:
                eventually(lambda: fault_of_score(channel) is None, "new connections are refused")
            assert not watch.done()  # a connection with a call stays
            watch.cancel()
        log = stopped_log(service)
        assert "connections without a call, because nearly all 144 connections were taken" in log


def fault_of_score(channel):
    """The status code of a score that fails, or None."""
    try:
        score(channel, tensor=tensor(ROWS), timeout=5)
    except grpc.RpcError as error:
        return error.code()
    return None


@contextlib.contextmanager
def running_with_descriptors(model, number):
    """A service with a limit of open files. A limit of 400 leaves 144 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    started = running(model)
    try:
        service = started.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as stack:
        stack.push(started)
        yield service


def test_descriptors_cannot_be_used_up(model_path, scorer):
    """More connections than descriptors: probes still answer, and calls do once the connections are closed."""
    with running_with_descriptors(model_path, 400) as service, contextlib.ExitStack() as stack:
        service.tls, service.expected = False, scorer.score(ROWS)
        measure(service)
        connections = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(500)]
        for connection in connections:
            stack.callback(connection.close)
        time.sleep(0.5)
        assert service.get("/livez") == (200, "alive\n")
        assert service.metric("process_open_fds") < 300
        for connection in connections:
            connection.close()
        time.sleep(0.5)
        assert_serves(service)
