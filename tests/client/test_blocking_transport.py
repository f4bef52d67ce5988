"""The blocking transport: no event loop, two threads, and the end of calls; no service takes part."""

from __future__ import annotations

import threading

import grpc
import pytest

from anomaly_vae.client.blocking_transport import BlockingTransport, run_blocking
from anomaly_vae.client.connection import connection_settings
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb


@pytest.fixture
def transport():
    """A channel that nothing is sent over."""
    settings = {"model_name": "", "model_version": "", "timeout": None, "retries": None, "tls": None, "token": ""}
    transport = BlockingTransport(connection_settings("127.0.0.1:9", **settings))
    yield transport
    transport.close()


def test_a_coroutine_that_never_suspends_gives_its_result_and_its_error():
    async def double(value):
        return 2 * value

    async def four():
        return await double(1) + await double(1)

    async def fail():
        raise KeyError("rows")

    assert run_blocking(four()) == 4
    with pytest.raises(KeyError, match="rows"):
        run_blocking(fail())


def test_a_coroutine_that_suspends_is_a_fault():
    """Without an event loop it could never be resumed."""

    class Pause:
        def __await__(self):
            yield

    async def wait():
        await Pause()

    with pytest.raises(RuntimeError, match="a blocking transport suspended"):
        run_blocking(wait())


def test_results_have_the_order_of_the_tasks_and_not_of_their_ends(transport):
    """The first task ends after the second began, so that two threads must run."""
    second_began = threading.Event()

    def task(i):
        async def run(_sender):
            if i == 0:
                assert second_began.wait(20)
            if i == 1:
                second_began.set()
            return i

        return run

    assert run_blocking(transport.gather([task(i) for i in range(7)])) == list(range(7))


def test_one_task_runs_in_the_thread_of_the_caller(transport):
    async def name(sender):
        return sender is transport, threading.current_thread()

    assert run_blocking(transport.gather([name])) == [(True, threading.current_thread())]


def test_the_first_error_ends_the_wait_of_other_tasks_and_begins_no_more(transport):
    """The second task is asleep when the first fails; the third is never begun."""
    sleeping, ends = threading.Event(), []

    async def fail(_sender):
        assert sleeping.wait(20)
        raise ServiceError("no", code="INTERNAL")

    async def wait(sender):
        sleeping.set()
        await sender.sleep(10.0)
        try:
            await sender.send("Score", pb.ScoreRequest(), 1.0)
        except grpc.FutureCancelledError:
            ends.append("cancelled")
            raise

    async def never(_sender):
        ends.append("begun")

    with pytest.raises(ServiceError, match="no"):
        run_blocking(transport.gather([fail, wait, never]))
    assert ends == ["cancelled"]
    assert not transport._groups


def test_a_closed_channel_sends_nothing_and_does_not_sleep(transport):
    transport.close()
    run_blocking(transport.sleep(3600.0))
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9: the client is closed; make another") as error:
        run_blocking(transport.send("GetModel", pb.GetModelRequest(), 1.0))
    assert error.value.code == "CANCELLED"


def test_a_channel_that_is_closed_during_a_call_says_so(transport):
    """gRPC raises ValueError or another error then, by the moment of the close."""
    with pytest.raises(ServiceError, match="the client is closed"), transport.while_open():  # noqa: PT012
        transport.close()
        raise ValueError("Cannot invoke RPC on closed channel!")


def test_an_error_on_an_open_channel_is_not_called_a_closed_one(transport):
    with pytest.raises(ValueError, match="ours"), transport.while_open():
        raise ValueError("ours")
