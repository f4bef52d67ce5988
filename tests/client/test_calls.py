"""How often one call is sent and how it ends, for failures with the texts of gRPC."""

import logging
import re

import grpc
import pytest

from anomaly_vae.client.blocking_transport import run_blocking
from anomaly_vae.client.calls import Caller
from anomaly_vae.client.connection import connection_settings
from anomaly_vae.errors import ServiceError
from tests.support.grpc_errors import (
    CLOSED,
    DROPPED,
    KILLED,
    MISNAMED,
    NO_NAME,
    NO_TLS,
    REFUSED,
    SHUTTING_DOWN,
    UNTRUSTED,
    FailedCall,
)

LATE = "Deadline Exceeded"
SLOW = "connected, and scoring"


def failed(text):
    code = grpc.StatusCode.DEADLINE_EXCEEDED if text == LATE else grpc.StatusCode.UNAVAILABLE
    return FailedCall(code, text)


class FakeSender:
    """A sender with its own clock, which advances in sleeps and in calls that end by their timeout.

    ``outcome_at`` returns the outcome of a call at a time in seconds: "reply", SLOW for a call that takes longer than
    any timeout, LATE for a connection without any answer, or the text of a failure.
    """

    def __init__(self, outcome_at):
        self.time = 1000.0
        self.outcome = lambda: outcome_at(self.time - 1000.0)
        self.sent = []
        self.waited = []

    async def send(self, _method, _request, timeout, *, wait_for_ready=False):
        self.sent.append(self.time - 1000.0)
        if wait_for_ready:
            self.waited.append(timeout)
            return self.reply_to_a_small_call(self.time + timeout)
        outcome = self.outcome()
        if outcome == "reply":
            return outcome
        if outcome in (SLOW, LATE):
            self.time += timeout
            raise failed(LATE)
        raise failed(outcome)

    def reply_to_a_small_call(self, until):
        while self.outcome() not in ("reply", SLOW):
            self.time += 0.01
            if self.time >= until:
                raise failed(LATE)
        return "reply"

    async def sleep(self, seconds):
        self.time += seconds


def caller_of(target):
    settings = {"model_name": "", "model_version": "", "tls": None, "token": ""}
    return Caller(connection_settings(target, timeout=None, retries=None, **settings))


def call(sender, timeout=60.0, retries=None, first_answer=None, caller=None, target="localhost:9"):
    caller = caller or caller_of(target)
    caller.now, caller.draw = (lambda: sender.time), (lambda: 0.5)
    return run_blocking(caller.call(sender, "Score", "rows", timeout, retries, first_answer))


def fault(sender, **options):
    with pytest.raises(ServiceError) as error:
        call(sender, **options)
    return error.value


def after(seconds, words):
    return FakeSender(lambda time: words if time < seconds else "reply")


@pytest.mark.parametrize("words", [REFUSED, NO_NAME, DROPPED, KILLED, SHUTTING_DOWN])
@pytest.mark.parametrize("seconds", [0.95, 3.0, 15.0, 59.0])
def test_a_service_that_comes_back_in_time_answers(words, seconds):
    sender = after(seconds, words)
    assert call(sender) == "reply"
    assert sender.time - 1000.0 < seconds + 1.0


def test_a_call_is_sent_as_soon_as_there_is_a_connection():
    sender = after(30.5, REFUSED)
    call(sender)
    assert sender.time - 1000.0 < 30.5 + 0.5 + 0.02  # half a second, if it slept just then
    assert max(sender.waited) == 1.0


@pytest.mark.parametrize("words", [REFUSED, KILLED, SHUTTING_DOWN])
def test_no_more_than_a_few_calls_a_second_are_sent(words):
    sender = FakeSender(lambda _: words)
    fault(sender)
    for start in range(58):
        assert sum(start <= time < start + 1 for time in sender.sent) <= 6
    assert 59.9 < sender.time - 1000.0 <= 60.01


@pytest.mark.parametrize("words", [UNTRUSTED, MISNAMED, NO_TLS])
def test_permanent_failures_are_reported_at_once(words):
    sender = FakeSender(lambda _: words)
    error = fault(sender, timeout=None)
    assert error.code == "UNAVAILABLE"
    assert len(sender.sent) == 1
    assert ("not trusted" in str(error), "another name" in str(error), "not speak TLS" in str(error)).count(True) == 1


def test_a_service_that_returns_with_a_wrong_certificate_is_reported_soon():
    sender = FakeSender(lambda time: REFUSED if time < 10.0 else UNTRUSTED)
    assert "certificate is not trusted" in str(fault(sender))
    assert sender.time - 1000.0 < 12.0


@pytest.mark.parametrize(
    ("scheme", "text"), [("grpcs", "it may want a client certificate"), ("grpc", "it may speak TLS")]
)
def test_a_port_that_closes_every_connection_is_reported_in_seconds(scheme, text):
    sender = FakeSender(lambda _: CLOSED)
    assert text in str(fault(sender, target=f"{scheme}://localhost:9", timeout=None))
    assert 2.9 < sender.time - 1000.0 < 3.1


def test_a_service_that_answered_before_may_close_connections_until_the_timeout():
    """As a proxy does while the service behind it starts."""
    sender = FakeSender(lambda time: "reply" if time < 0.5 or time > 40.0 else CLOSED)
    caller = caller_of("localhost:9")
    assert call(sender, caller=caller) == "reply"
    sender.time += 1.0
    assert call(sender, caller=caller) == "reply"
    assert sender.time - 1000.0 > 40.0


def test_a_service_that_is_killed_during_the_first_connection_is_waited_for():
    sender = FakeSender(lambda time: CLOSED if time < 0.3 or 8.0 < time < 8.3 else REFUSED if time < 20.0 else "reply")
    assert call(sender) == "reply"


def test_a_timeout_without_a_connection_is_reported_with_its_cause():
    """For the last attempt gRPC only reports that the deadline has passed."""
    sender = FakeSender(lambda time: REFUSED if time < 3.0 else LATE)
    error = fault(sender, timeout=10.0)
    assert (error.code, "(connection refused)" in str(error)) == ("UNAVAILABLE", True)


def test_a_timeout_while_the_service_scores_is_reported_as_such():
    sender = FakeSender(lambda time: REFUSED if time < 3.0 else SLOW)
    error = fault(sender, timeout=10.0)
    assert error.code == "DEADLINE_EXCEEDED"
    assert "no reply in time" in str(error)


def test_the_wait_for_a_first_answer_is_limited():
    for words, text in ((REFUSED, "(connection refused)"), (LATE, "nothing came in 3 s")):
        sender = FakeSender(lambda _, words=words: words)
        assert text in str(fault(sender, first_answer=3.0))
        assert 2.9 < sender.time - 1000.0 <= 3.01
    sender = FakeSender(lambda time: SHUTTING_DOWN if time < 1.0 else REFUSED if time < 20.0 else "reply")
    assert call(sender, first_answer=3.0) == "reply"


def test_without_a_timeout_the_wait_has_no_limit():
    sender = after(100_000.0, REFUSED)
    assert call(sender, timeout=None) == "reply"


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
def test_a_wait_of_two_seconds_is_logged_once(words, timeout, text, caplog):
    call(after(1.9, words), timeout=timeout)
    assert not caplog.records
    call(after(40.0, words), timeout=timeout)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("anomaly_vae.client", logging.WARNING)
    assert re.match(text, record.getMessage())


def test_a_wait_that_ends_soon_is_not_logged(caplog):
    fault(FakeSender(lambda _: REFUSED), timeout=3.0)
    assert not caplog.records


def test_every_outage_is_logged(caplog):
    sender = FakeSender(lambda time: REFUSED if 10.0 < time < 20.0 or 30.0 < time < 40.0 else "reply")
    caller = caller_of("localhost:9")
    while sender.time < 1050.0:
        call(sender, caller=caller)
        sender.time += 0.1
    assert len(caplog.records) == 2
