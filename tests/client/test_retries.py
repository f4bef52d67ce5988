"""Which failed calls are sent again, after how long, and when the retries end."""

import grpc
import pytest

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.client.retries import backoff_s
from anomaly_vae.errors import Overloaded, ServiceError
from tests.support.running import assert_same_bits
from tests.support.scripted import Clock, Failure, ask, scripted

UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE)
KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


@pytest.fixture
def service(small_calls):
    with scripted(small_calls.target) as service:
        yield service


@pytest.fixture
def clock():
    return Clock()


@KINDS
def test_an_unavailable_service_is_called_again_after_random_waits_that_grow(kind, service, clock, scorer, new_rows):
    service.script.extend([UNAVAILABLE] * 4)
    scores = ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock)
    assert_same_bits(scores, scorer.score(new_rows[:9]))
    assert clock.sleeps == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert len(service.remaining) == 5


@KINDS
def test_a_full_service_is_called_again_no_sooner_than_it_requests(kind, service, clock, scorer, new_rows):
    full = [Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, seconds) for seconds in (2.5, 0.001, 7.0)]
    service.script.extend([*full, Failure(grpc.StatusCode.UNAVAILABLE, 3.0)])
    flags = ask(kind, service.target, lambda client: client.flag(new_rows[:9]), clock)
    assert flags.is_anomaly.tolist() == scorer.flag(new_rows[:9]).is_anomaly.tolist()
    assert clock.sleeps == pytest.approx([2.5, 0.1, 7.0, 3.0])


@KINDS
@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details=b"\xff\xff no status"),
        Failure(grpc.StatusCode.DEADLINE_EXCEEDED, 1.0),
        Failure(grpc.StatusCode.INTERNAL, 1.0),
        Failure(grpc.StatusCode.NOT_FOUND),
        Failure(grpc.StatusCode.UNAUTHENTICATED),
        Failure(grpc.StatusCode.UNKNOWN),
    ],
    ids=lambda failure: failure.code.name,
)
def test_what_would_fail_again_is_not_sent_again(kind, service, clock, new_rows, failure):
    service.script.append(failure)
    with pytest.raises(ServiceError) as error:
        ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock)
    assert error.value.code == failure.code.name
    assert not isinstance(error.value, Overloaded)
    assert (len(service.remaining), clock.sleeps) == (1, [])


@KINDS
@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.CANCELLED),  # possible for calls cut off at the end of the grace period
        Failure(grpc.StatusCode.INTERNAL, text="Received RST_STREAM with error code 2"),
        Failure(grpc.StatusCode.UNKNOWN, text="Stream removed"),
    ],
    ids=lambda failure: failure.code.name,
)
def test_a_call_whose_connection_broke_is_sent_again(kind, service, clock, scorer, new_rows, failure):
    service.script.extend([failure] * 2)
    assert_same_bits(
        ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock), scorer.score(new_rows[:9])
    )
    assert clock.sleeps == pytest.approx([0.05, 0.1])
    service.script.append(failure)
    with pytest.raises(ServiceError) as error:
        ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock, retries=0)
    assert error.value.code == failure.code.name


@KINDS
def test_a_call_is_sent_again_until_its_timeout(kind, service, clock, new_rows):
    """About twice a second; the last waits are shorter, so that all of the time is used."""
    service.script.extend([UNAVAILABLE] * 1_000)
    start = clock.time
    with pytest.raises(ServiceError, match="scripted failure") as error:
        ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock)
    assert error.value.code == "UNAVAILABLE"
    assert 59.9 < clock.time - start < 60.0
    assert 120 < len(service.remaining) < 135
    service.script.clear()


@KINDS
def test_a_wait_beyond_the_timeout_is_not_begun(kind, service, clock, new_rows):
    """The caller gets the last error at once, not after a wait that cannot help."""
    full = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, 4.0)
    service.script.extend([full] * 9)
    with pytest.raises(Overloaded, match="scripted failure") as error:
        ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock, timeout=10.0)
    assert error.value.retry_after == 4.0
    assert clock.sleeps == [4.0, 4.0]
    assert service.remaining == pytest.approx([10.0, 6.0, 2.0], abs=0.9)


@KINDS
def test_calls_are_sent_again_at_most_so_often(kind, service, clock, new_rows):
    for retries in (0, 2):
        clock.sleeps.clear()
        service.script.extend([UNAVAILABLE] * (retries + 1))
        with pytest.raises(ServiceError) as error:
            ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock, retries=retries)
        assert error.value.code == "UNAVAILABLE"
        assert len(clock.sleeps) == retries
        assert not service.script


@KINDS
def test_no_timeout_is_no_reason_to_wait_for_ever(kind, service, clock, new_rows):
    for seconds in (601.0, 3e11, -5.0):
        service.script.append(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, seconds))
        if seconds > 0:
            with pytest.raises(Overloaded):
                ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock, timeout=None)
            assert clock.sleeps == []
        else:
            ask(kind, service.target, lambda client: client.score(new_rows[:9]), clock, timeout=None)
            assert clock.sleeps == [0.05]


@KINDS
def test_every_part_of_a_large_array_is_sent_again_by_itself(kind, service, scorer, new_rows):
    """Eight parts with three failures take eleven calls; sending all parts again would take more."""
    service.script.extend([UNAVAILABLE] * 3)
    scores = ask(kind, service.target, lambda client: client.score(new_rows))
    assert_same_bits(scores, scorer.score(new_rows))
    assert len(service.remaining) == 8 + 3


def test_waits_are_bounded_and_drawn_from_nothing_up():
    """The waits for a full service are longer than those for a missing service."""

    def longest(code):
        return [backoff_s(code, None, tries, lambda: 1.0) for tries in (1, 2, 4, 6, 7, 10_000)]

    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        assert backoff_s(code, None, 1, lambda: 0.0) == 0.0
        assert backoff_s(code, 8.0, 1, lambda: 1.0) == 8.0
    assert longest(grpc.StatusCode.UNAVAILABLE) == [0.1, 0.2, 0.8, 1, 1, 1]
    assert longest(grpc.StatusCode.RESOURCE_EXHAUSTED) == [0.1, 0.2, 0.8, 3.2, 5, 5]
