"""Rows in a second and outstanding rows of each caller."""

from contextlib import ExitStack, contextmanager

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.client.replies import requested_delay_s
from anomaly_vae.service.access.token_file import add_token, make_token, token_line
from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.queue.caller_limits import CallerLimits
from tests.support.callers import bearer, call
from tests.support.data import make_rows
from tests.support.running import running, tensor

TEN = Caller("ten", rows_per_second=10)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_caller_without_limits_is_never_refused(clock):
    limits = CallerLimits(1, clock)
    for _ in range(3):
        assert limits.refusal(NO_TOKEN, 10**9) is None
        limits.take(NO_TOKEN, 10**9)


def test_the_rows_of_one_second_may_come_at_once_and_then_at_the_rate(clock):
    limits = CallerLimits(1, clock)
    limits.take(TEN, 10)
    refusal = limits.refusal(TEN, 1)
    assert (refusal.reason, refusal.retry_after) == ("rows_per_second", 0.1)
    assert refusal.text == "this caller may send 10 rows/s; send the 1 rows again in 0.1 s"
    clock.now += 0.1
    assert limits.refusal(TEN, 1) is None
    assert limits.refusal(TEN, 2).retry_after == 0.1
    clock.now += 1_000.0  # no more than one second is saved up
    limits.take(TEN, 10)
    assert limits.refusal(TEN, 1) is not None


def test_a_request_of_more_rows_needs_a_full_bucket_and_is_paid_for_afterwards(clock):
    limits = CallerLimits(1, clock)
    assert limits.refusal(TEN, 1_000) is None
    limits.take(TEN, 1_000)
    assert limits.refusal(TEN, 1).retry_after == pytest.approx(99.1)
    assert limits.refusal(TEN, 1_000).retry_after == pytest.approx(100.0)
    clock.now += 99.9
    assert limits.refusal(TEN, 1_000).retry_after == pytest.approx(0.1)


@given(
    st.integers(1, 10**6),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 20_000), st.floats(0.0, 3.0)), max_size=20),
    st.integers(1, 20_000),
)
def test_the_delay_is_exact_to_the_millisecond(rate, processes, before, num_rows):
    """After it the request is admitted, and one millisecond earlier it is not."""
    clock, caller = Clock(), Caller("a", rows_per_second=rate)
    limits = CallerLimits(processes, clock)
    for taken, seconds in before:
        limits.take(caller, taken)
        clock.now += seconds
    delay = limits.seconds_until(caller, num_rows)
    start = clock.now
    clock.now = start + delay
    assert limits.seconds_until(caller, num_rows) == 0
    if delay:
        clock.now = start + delay - 0.00101
        assert limits.seconds_until(caller, num_rows) > 0


def test_in_the_long_run_the_rate_is_kept_whatever_is_sent(clock):
    limits, rows = CallerLimits(1, clock), 0
    for i in range(10_000):
        num_rows = 1 + 7 * i % 29
        if limits.refusal(TEN, num_rows) is None:
            limits.take(TEN, num_rows)
            rows += num_rows
        clock.now += 0.01
    assert 10 * 100 - 29 <= rows <= 10 * 101 + 29


def test_several_processes_keep_a_limit_together(clock):
    limits = [CallerLimits(4, clock) for _ in range(4)]
    caller = Caller("a", rows_per_second=40, outstanding_rows=8)
    for each in limits:
        each.take(caller, 10)
        assert each.refusal(caller, 1).retry_after == 0.1
        each.give_back(caller, 8)
        clock.now += 10
        assert each.refusal(caller, 1).text.startswith("2 rows of this caller are not answered yet, at most 2 may be")


def test_outstanding_rows_are_limited_but_one_request_is_always_possible(clock):
    limits, caller = CallerLimits(1, clock), Caller("a", outstanding_rows=100)
    assert limits.refusal(caller, 5_000) is None
    limits.take(caller, 5_000)
    refusal = limits.refusal(caller, 1)
    assert (refusal.reason, refusal.retry_after) == ("outstanding_rows", None)
    assert limits.outstanding() == {"a": 5_000}
    limits.give_back(caller, 5_000)
    limits.take(caller, 60)
    assert limits.refusal(caller, 40) is None
    assert limits.refusal(caller, 41) is not None
    limits.give_back(caller, 60)
    assert limits.outstanding() == {}


def test_a_changed_limit_holds_from_the_next_request_on(clock):
    limits = CallerLimits(1, clock)
    limits.take(TEN, 10)
    assert limits.refusal(Caller("ten", rows_per_second=1_000), 1).retry_after == 0.001
    assert limits.refusal(Caller("ten"), 1) is None
    clock.now += 10.0
    assert limits.refusal(Caller("ten", rows_per_second=2), 2) is None
    limits.take(Caller("ten", rows_per_second=2), 2)
    assert limits.refusal(Caller("ten", rows_per_second=2), 2).retry_after == 1.0


@contextmanager
def limited(model_path, folder, **limits):
    """A service for one caller with these limits; yields it, a channel and the token."""
    token = make_token()
    add_token(folder / "tokens", Caller("a", **limits), token)
    with running(model_path, "--token-file", folder / "tokens") as service, service.channel() as channel:
        yield service, channel, token


def test_a_caller_above_its_rate_is_told_when_to_return_on_all_connections(model_path, tmp_path):
    with limited(model_path, tmp_path, rows_per_second=20) as (service, channel, token), ExitStack() as stack:
        rows = make_rows(20, seed=1)
        call(channel, make_rows(200, seed=2), *bearer(token), ("x-priority", "batch"))  # pays for ten seconds
        other = stack.enter_context(service.channel())
        with pytest.raises(grpc.RpcError) as error:
            call(other, rows, *bearer(token))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.value.details().startswith("this caller may send 20 rows/s; send the 20 rows again in ")
        assert 2.0 < requested_delay_s(error.value) <= 10.0
        assert service.metric("anomaly_vae_rejected_total", reason="rows_per_second") == 1
        assert service.metric("anomaly_vae_caller_rejected_total", caller="a", reason="rows_per_second") == 1
        assert service.metric("anomaly_vae_caller_rows_total", caller="a", priority="batch") == 200
        assert service.metric("anomaly_vae_caller_outstanding_rows", caller="a") == 0
        (tmp_path / "tokens").write_text(f"{token_line(Caller('b', Priority.BATCH), token)}\n")
        assert len(call(other, rows, *bearer(token)).log_px) == 20
        assert service.metric("anomaly_vae_caller_rows_total", caller="b", priority="batch") == 20
        assert 'caller="a"' not in service.get("/metrics")[1]


def test_a_stream_above_the_rate_waits_and_gets_all_its_answers(model_path, tmp_path):
    with limited(model_path, tmp_path, rows_per_second=50) as (service, channel, token):
        requests = (pb.ScoreRequest(tensor=tensor(make_rows(25, seed=i))) for i in range(4))
        replies = list(ScoringServiceStub(channel).ScoreStream(requests, metadata=bearer(token), timeout=20))
        assert [len(reply.log_px) for reply in replies] == [25] * 4
        assert service.metric("anomaly_vae_rejected_total", reason="rows_per_second") == 0
        seconds = service.metric("grpc_server_handling_seconds_sum", grpc_method="ScoreStream")
        assert seconds > 0.9  # two of the four waited for rows of the rate
