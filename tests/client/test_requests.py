"""Large arrays in several calls: a few at a time, in order, and none in progress after a failure."""

import asyncio
import threading
import time

import grpc
import numpy as np
import pytest

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.client.requests import score_request, split_rows
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ServiceError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service.pb import scoring_pb2 as pb
from tests.support.running import assert_same_bits
from tests.support.scripted import Failure, ask, scripted

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])
INTERNAL = Failure(grpc.StatusCode.INTERNAL)


@pytest.fixture
def image_schema():
    return Schema(columns=(), shape=ImageShape(height=1, width=3))


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


def images(*values):
    return np.array(values, dtype=np.float64).reshape(1, -1)


def test_pixels_are_sent_as_bytes(image_schema):
    """One byte for each of them instead of 8: the service reads the same doubles."""
    pixels = np.arange(256.0).reshape(2, 128)
    tensor = score_request(pixels, ScoreOptions(), 0, image_schema, "", "").tensor
    assert (tensor.dtype, list(tensor.shape)) == ("UINT8", [2, 128])
    assert np.frombuffer(tensor.data, np.uint8).astype(np.float64).tobytes() == pixels.tobytes()


@pytest.mark.parametrize("value", [np.nan, 0.5, -1.0, 256.0, -0.0, 1e300])
def test_other_values_of_images_are_sent_as_doubles(image_schema, value):
    rows = images(0.0, 255.0, value)
    tensor = score_request(rows, ScoreOptions(), 0, image_schema, "", "").tensor
    assert (tensor.dtype, tensor.data) == ("FP64", rows.tobytes())


def test_rows_of_tables_are_sent_as_doubles():
    """Services of older releases read no bytes."""
    tensor = score_request(images(1.0, 2.0), ScoreOptions(), 0, Schema(columns=()), "", "").tensor
    assert tensor.dtype == "FP64"


@pytest.mark.parametrize(("num_cells", "num_rows"), [(784, 167), (12_288, 10), (16_384, 8)])
def test_calls_of_images_carry_fewer_rows(num_cells, num_rows):
    """Each of their rows takes longer; the limit counts doubles, even where bytes are sent."""
    model = pb.Model(limits=pb.Limits(max_rows=16_384, max_message_bytes=2**24))
    parts = list(split_rows(np.zeros((num_rows + 1, num_cells)), model, 1_024))
    assert [len(part) for part in parts] == [num_rows, 1]


def test_a_call_of_rows_to_explain_carries_fewer_of_them():
    """Each counts as several rows."""
    model = pb.Model(limits=pb.Limits(max_rows=16_384, max_message_bytes=2**24))
    parts = list(split_rows(np.zeros((100, 10)), model, 4_096, work=16.0))
    assert [len(part) for part in parts] == [64, 36]
    request = score_request(np.zeros((1, 1)), ScoreOptions(flag_only=True), 0, Schema(columns=()), "", "", explain=3)
    assert (request.explain, request.explain_all) == (3, True)
