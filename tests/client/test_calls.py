"""How often one call is sent, and what its caller is told, against failures in gRPC's own words."""

import logging
import re

import grpc
import pytest

from anomaly_vae.client.calls import Caller
from anomaly_vae.client.channel import finish
from anomaly_vae.client.connection import connection_to
from anomaly_vae.errors import ServiceError

# As gRPC 1.85 says it.
REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect to remote host: "
    "Connection refused"
)
NO_NAME = (
    "errors resolving no.such.host:1: [field:hostname lookup error:address lookup failed for no.such.host:1: Domain "
    "name not found]"
)
DROPPED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:9: Failed to connect to remote host: "
    "connect() timed out"
)
HANDSHAKE = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Tls handshake failed "
UNTRUSTED = (
    f"{HANDSHAKE}(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
    "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate: OK"
)
MISNAMED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Custom verification check failed with "
    "error: UNAUTHENTICATED: Hostname Verification Check failed."
)
NO_TLS = (
    f"{HANDSHAKE}(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:"
    "WRONG_VERSION_NUMBER: Invalid certificate verification context: OK"
)
CLOSED = "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:9: Socket closed"
KILLED = "Stream removed (Socket closed)"
LATE = "Deadline Exceeded"
SLOW = "connected, and scoring"
SHUTTING_DOWN = "the server is shutting down; connect again"


class Failed(grpc.RpcError):
    def __init__(self, details):
        self._details = details

    def code(self):
        return grpc.StatusCode.DEADLINE_EXCEEDED if self._details == LATE else grpc.StatusCode.UNAVAILABLE

    def details(self):
        return self._details

    def trailing_metadata(self):
        return ()


class Line:
    """Time passes in sleeps, and in calls that wait for what does not come.

    ``now_there`` says what there is at a time: "reply", SLOW for one that takes for ever, LATE for a silent connection,
    or the words of a failure.
    """

    def __init__(self, now_there):
        self.time = 1000.0
        self.there = lambda: now_there(self.time - 1000.0)
        self.sent = []
        self.waited = []

    async def send(self, _method, _request, timeout, *, wait_for_ready=False):
        self.sent.append(self.time - 1000.0)
        if wait_for_ready:
            self.waited.append(timeout)
            return self.reply_to_a_small_call(self.time + timeout)
        there = self.there()
        if there == "reply":
            return there
        if there in (SLOW, LATE):
            self.time += timeout
            raise Failed(LATE)
        raise Failed(there)

    def reply_to_a_small_call(self, until):
        while self.there() not in ("reply", SLOW):
            self.time += 0.01
            if self.time >= until:
                raise Failed(LATE)
        return "reply"

    async def sleep(self, seconds):
        self.time += seconds


def caller_of(target):
    settings = {"model_name": "", "model_version": "", "tls": None, "token": ""}
    return Caller(connection_to(target, timeout=None, retries=None, **settings))


def call(line, timeout=60.0, retries=None, first_answer=None, caller=None, target="localhost:9"):
    caller = caller or caller_of(target)
    caller.now, caller.draw = (lambda: line.time), (lambda: 0.5)
    return finish(caller.call(line, "Score", "rows", timeout, retries, first_answer))


def fault(line, **options):
    with pytest.raises(ServiceError) as error:
        call(line, **options)
    return error.value


def after(seconds, words):
    return Line(lambda time: words if time < seconds else "reply")


@pytest.mark.parametrize("words", [REFUSED, NO_NAME, DROPPED, KILLED, SHUTTING_DOWN])
@pytest.mark.parametrize("seconds", [0.95, 3.0, 15.0, 59.0])
def test_a_service_that_comes_back_in_time_answers(words, seconds):
    line = after(seconds, words)
    assert call(line) == "reply"
    assert line.time - 1000.0 < seconds + 1.0


def test_a_call_goes_out_the_moment_there_is_a_connection():
    line = after(30.5, REFUSED)
    call(line)
    assert line.time - 1000.0 < 30.5 + 0.5 + 0.02  # half a second, if it slept just then
    assert max(line.waited) == 1.0


@pytest.mark.parametrize("words", [REFUSED, KILLED, SHUTTING_DOWN])
def test_no_more_than_a_few_calls_a_second_are_sent(words):
    line = Line(lambda _: words)
    fault(line)
    for start in range(58):
        assert sum(start <= time < start + 1 for time in line.sent) <= 6
    assert 59.9 < line.time - 1000.0 <= 60.01


@pytest.mark.parametrize("words", [UNTRUSTED, MISNAMED, NO_TLS])
def test_what_cannot_heal_is_said_at_once(words):
    line = Line(lambda _: words)
    error = fault(line, timeout=None)
    assert error.code == "UNAVAILABLE"
    assert len(line.sent) == 1
    assert ("not trusted" in str(error), "another name" in str(error), "not speak TLS" in str(error)).count(True) == 1


def test_a_service_that_comes_back_with_a_wrong_certificate_is_said_soon():
    line = Line(lambda time: REFUSED if time < 10.0 else UNTRUSTED)
    assert "certificate is not trusted" in str(fault(line))
    assert line.time - 1000.0 < 12.0


@pytest.mark.parametrize(
    ("scheme", "text"), [("grpcs", "it may want a client certificate"), ("grpc", "it may speak TLS")]
)
def test_a_stranger_that_closes_every_connection_is_said_in_seconds(scheme, text):
    line = Line(lambda _: CLOSED)
    assert text in str(fault(line, target=f"{scheme}://localhost:9", timeout=None))
    assert 2.9 < line.time - 1000.0 < 3.1


def test_a_service_that_was_heard_may_close_connections_until_the_timeout():
    """As a proxy does while the service behind it starts."""
    line = Line(lambda time: "reply" if time < 0.5 or time > 40.0 else CLOSED)
    caller = caller_of("localhost:9")
    assert call(line, caller=caller) == "reply"
    line.time += 1.0
    assert call(line, caller=caller) == "reply"
    assert line.time - 1000.0 > 40.0


def test_a_service_that_is_killed_just_when_a_stranger_connects_is_waited_for():
    line = Line(lambda time: CLOSED if time < 0.3 or 8.0 < time < 8.3 else REFUSED if time < 20.0 else "reply")
    assert call(line) == "reply"


def test_time_that_is_over_before_there_was_a_connection_says_why():
    """The last call is sent, and gRPC has nothing to say but that its deadline is over."""
    line = Line(lambda time: REFUSED if time < 3.0 else LATE)
    error = fault(line, timeout=10.0)
    assert (error.code, "(connection refused)" in str(error)) == ("UNAVAILABLE", True)


def test_time_that_is_over_while_the_service_scores_says_so():
    line = Line(lambda time: REFUSED if time < 3.0 else SLOW)
    error = fault(line, timeout=10.0)
    assert error.code == "DEADLINE_EXCEEDED"
    assert "no reply in time" in str(error)


def test_a_first_answer_is_waited_for_so_long_only():
    for words, text in ((REFUSED, "(connection refused)"), (LATE, "nothing came in 3 s")):
        line = Line(lambda _, words=words: words)
        assert text in str(fault(line, first_answer=3.0))
        assert 2.9 < line.time - 1000.0 <= 3.01
    line = Line(lambda time: SHUTTING_DOWN if time < 1.0 else REFUSED if time < 20.0 else "reply")
    assert call(line, first_answer=3.0) == "reply"


def test_no_timeout_waits_for_ever():
    line = after(100_000.0, REFUSED)
    assert call(line, timeout=None) == "reply"


@pytest.mark.parametrize(
    ("words", "timeout", "text"),
    [
        (REFUSED, 60.0, r"localhost:9 does not answer \(connection refused\); trying again for up to 5[678] s"),
        (NO_NAME, 60.0, r"localhost:9 does not answer \(domain name not found\); trying again for up to 5[678] s"),
        (REFUSED, None, r"localhost:9 does not answer \(connection refused\); trying again$"),
        (
            SHUTTING_DOWN,
            60.0,
            r"localhost:9 cannot answer \(the server is shutting down; connect again\); trying again",
        ),
    ],
)
def test_a_wait_of_two_seconds_is_told_once(words, timeout, text, caplog):
    call(after(1.9, words), timeout=timeout)
    assert not caplog.records
    call(after(40.0, words), timeout=timeout)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("anomaly_vae.client", logging.WARNING)
    assert re.match(text, record.getMessage())


def test_a_wait_that_ends_soon_is_not_told(caplog):
    fault(Line(lambda _: REFUSED), timeout=3.0)
    assert not caplog.records


def test_every_outage_is_told(caplog):
    line = Line(lambda time: REFUSED if 10.0 < time < 20.0 or 30.0 < time < 40.0 else "reply")
    caller = caller_of("localhost:9")
    while line.time < 1050.0:
        call(line, caller=caller)
        line.time += 0.1
    assert len(caplog.records) == 2
