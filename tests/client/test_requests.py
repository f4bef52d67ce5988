"""Large arrays in several calls: a few at a time, in order, and none in progress after a failure."""

import asyncio
import threading
import time

import grpc
import numpy as np
import pytest

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.client.requests import schema_of, split_rows
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.model_description import _input
from tests.support.running import assert_same_bits
from tests.support.scripted import Failure, ask, scripted

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])
INTERNAL = Failure(grpc.StatusCode.INTERNAL)


@pytest.fixture
def service(small_calls):
    with scripted(small_calls.target) as service:
        yield service


@pytest.mark.parametrize(
    ("kind", "options", "most"), [(Client, {}, 2), (AsyncClient, {}, 4), (AsyncClient, {"concurrency": 3}, 3)]
)
def test_a_few_parts_are_sent_at_a_time_and_come_back_in_order(service, scorer, new_rows, kind, options, most):
    """The first part waits until the calls beside it arrived, and until the part after them is done."""
    here, third_is_done = threading.Barrier(most), threading.Event()

    def hold(number, _context):
        if number < most:
            here.wait(20)
        if number == 0:
            third_is_done.wait(20)
        if number == most:
            third_is_done.set()

    service.before = hold
    scores = ask(kind, service.target, lambda client: client.score(new_rows), **options)
    assert_same_bits(scores, scorer.score(new_rows))
    assert service.most == most
    assert len(service.remaining) == 8


@KINDS
def test_the_first_failure_ends_the_other_parts(service, new_rows, kind):
    """One part is held at the service and gets cancelled; the parts that were not sent yet are never sent."""
    cancelled, waiting = threading.Event(), threading.Event()

    def hold(number, context):
        if number == 0:
            context.add_callback(cancelled.set)
            waiting.set()
            cancelled.wait(20)
        elif number == 1:
            waiting.wait(20)

    service.before = hold
    service.script.extend([None, INTERNAL])
    start = time.monotonic()
    with pytest.raises(ServiceError, match="scripted failure") as error:
        ask(kind, service.target, lambda client: client.score(new_rows))
    assert error.value.code == "INTERNAL"
    assert time.monotonic() - start < 10
    assert cancelled.wait(5)
    assert len(service.remaining) <= 4


@KINDS
def test_a_part_that_waits_to_be_sent_again_ends_too(service, new_rows, kind):
    called = threading.Event()

    def hold(number, context):
        if number == 0:
            context.add_callback(called.set)
        else:
            called.wait(20)
            time.sleep(0.2)  # until the client has the reply and sleeps

    service.before = hold
    service.script.extend([Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, 30.0), INTERNAL])
    start = time.monotonic()
    with pytest.raises(ServiceError) as error:
        ask(kind, service.target, lambda client: client.score(new_rows))
    assert error.value.code == "INTERNAL"
    assert time.monotonic() - start < 10


def test_a_cancelled_task_cancels_its_calls(service, new_rows):
    cancelled = threading.Event()

    def hold(_number, context):
        context.add_callback(cancelled.set)
        cancelled.wait(20)

    async def main():
        async with AsyncClient(service.target) as client:
            await client.get_model()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.score(new_rows)
            assert await asyncio.to_thread(cancelled.wait, 5)
            service.before = None
            assert len(await client.score(new_rows)) == len(new_rows)

    service.before = hold
    asyncio.run(main())


@pytest.mark.parametrize("num_rows", [5, 75])
def test_closing_ends_calls_in_progress_with_a_service_error(service, new_rows, num_rows):
    def hold(_number, context):
        over = threading.Event()
        context.add_callback(over.set)
        begun.set()
        over.wait(20)

    async def main():
        client = AsyncClient(service.target)
        scoring = asyncio.create_task(client.score(new_rows[:num_rows]))
        assert await asyncio.to_thread(begun.wait, 10)
        await client.close()
        with pytest.raises(ServiceError) as error:
            await scoring
        assert error.value.code == "CANCELLED"
        with pytest.raises(ServiceError, match="the client is closed"):
            await client.score(new_rows)

    service.before, begun = hold, threading.Event()
    asyncio.run(main())
    begun.clear()
    client = Client(service.target)
    closer = threading.Thread(target=lambda: (begun.wait(10), client.close()))
    closer.start()
    with pytest.raises(ServiceError) as error:
        client.score(new_rows[:num_rows])
    closer.join()
    assert error.value.code == "CANCELLED"
    with pytest.raises(ServiceError, match="the client is closed"):
        client.score(new_rows)


@KINDS
def test_calls_of_a_closed_client_end_as_cancelled_at_any_moment(small_calls, new_rows, kind):
    """Between two calls, within one, between its parts: gRPC raises other exceptions for each."""

    def close_meanwhile(delay):
        client = Client(small_calls.target)
        closer = threading.Timer(delay, client.close)
        closer.start()
        try:
            while True:
                client.flag(new_rows)
        finally:
            closer.join()

    async def close_task_meanwhile(delay):
        client = AsyncClient(small_calls.target)
        scoring = asyncio.create_task(client.flag(new_rows))
        await asyncio.sleep(delay)
        await client.close()
        await scoring
        await client.flag(new_rows)

    closed_after = close_meanwhile if kind is Client else lambda delay: asyncio.run(close_task_meanwhile(delay))
    for i in range(40):
        with pytest.raises(ServiceError) as error:
            closed_after(0.001 * i)
        assert error.value.code == "CANCELLED"


@KINDS
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 1.2])
def test_a_client_that_waits_for_its_service_can_be_closed(kind, delay):
    """While it sleeps, and while it waits for a connection."""

    async def close_meanwhile():
        client = AsyncClient("127.0.0.1:9")
        asking = asyncio.create_task(client.get_model())
        await asyncio.sleep(delay)
        await client.close()
        await asking

    def close_from_another_thread():
        client = Client("127.0.0.1:9")
        closer = threading.Timer(delay, client.close)
        closer.start()
        try:
            client.get_model()
        finally:
            closer.join()

    start = time.monotonic()
    with pytest.raises(ServiceError, match="the client is closed") as error:
        close_from_another_thread() if kind is Client else asyncio.run(close_meanwhile())
    assert error.value.code == "CANCELLED"
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 1.2])
def test_a_task_that_waits_for_its_service_can_be_cancelled(delay):
    async def main():
        async with AsyncClient("127.0.0.1:9") as client:
            async with asyncio.timeout(delay):
                await client.get_model()

    with pytest.raises(TimeoutError):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("num_columns", "budget", "max_rows", "num_rows"),
    [(30, 1_024, 65_536, 1_024), (30, 4_096, 65_536, 1_024), (30, 16, 65_536, 4_369), (30, 1_024, 10, 10)],
)
def test_a_call_carries_a_few_seconds_of_work_and_a_megabyte_at_most(num_columns, budget, max_rows, num_rows):
    """A default model's row takes 3 to 7 ms of a thread; calls that took half the timeout would fail beside others."""
    model = pb.Model(limits=pb.Limits(max_rows=max_rows, max_message_bytes=2**26))
    parts = list(split_rows(np.zeros((2 * num_rows + 1, num_columns)), model, budget))
    assert [len(part) for part in parts] == [num_rows, num_rows, 1]


def test_the_columns_of_a_client_are_those_of_the_model():
    columns = (
        pb.ModelColumn(name="name", kind="categorical", categories=["a", "b", "c"], rare=[0, 2], novelty="density"),
        pb.ModelColumn(name="unit", kind="constant", value=7.0, other_share=0.25, novelty="lowest"),
        pb.ModelColumn(name="is_open", kind="binary", novelty="a rule of a later release"),
        pb.ModelColumn(name="year", kind="integer", step=2.0, origin=1.0),
        pb.ModelColumn(name="hour", kind="cyclic", period=24.0),
    )
    assert schema_of(pb.Model(columns=columns, label="broken")) == Schema(
        columns=(
            Column(name="name", kind="categorical", categories=("a", "b", "c"), rare=(0, 2), novelty="density"),
            Column(name="unit", kind="constant", value=7.0, other_share=0.25, novelty="lowest"),
            Column(name="is_open", kind="binary"),
            Column(name="year", kind="integer", step=2.0, origin=1.0),
            Column(name="hour", kind="cyclic", period=24.0),
        ),
        label="broken",
    )


@pytest.mark.parametrize(
    "reading",
    [
        NumberReading(),
        NumberReading(decimal=",", thousands=" ", affixes=("()", "€"), truth=True),
        TextReading(),
        TimeReading(order="dmy", zone="Europe/Oslo", parts=("time_of_day", "trend")),
        TimeReading(order="clock", parts=("time_of_day",)),
        LeftOut(why="numbers the rows"),
    ],
)
def test_a_client_reads_tables_as_the_service_says_that_training_did(reading):
    """So that a DataFrame gives the same rows here as it would there."""
    each = Input(name="a", reading=reading)
    schema = schema_of(pb.Model(inputs=[_input(each)], missing_values=["-999"]))
    assert schema.inputs == (each,)
    assert schema.missing_values == ("-999",)


@pytest.mark.parametrize(
    "fields", [{"kind": "picture"}, {"kind": "number", "decimal": ";"}, {"kind": "text", "truth": True}, {}]
)
def test_a_reading_of_a_later_release_is_refused_with_the_column(fields):
    with pytest.raises(
        ServiceError, match="the service reads column 'a' in a way that this release does not"
    ) as caught:
        schema_of(pb.Model(inputs=[pb.Input(name="a", **fields)]))
    assert caught.value.code == "UNIMPLEMENTED"
