"""Callers share the compute time: a caller that sends little is answered soon, whatever others send.

Waits are counted in rows that the service computes meanwhile, so that the speed of the machine does not matter.
"""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest

from anomaly_vae.client import AsyncClient
from anomaly_vae.density.tiles import TILE_ROWS
from anomaly_vae.service.loading import measure_speed
from anomaly_vae.service.models import shelf as shelf_module
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.queue.cost_model import _SECONDS_PER_SAMPLE, CostKey
from anomaly_vae.service.queue.scoring_queue import _USUAL_SAMPLES
from anomaly_vae.service.server import Server
from anomaly_vae.service.settings import ServeConfig
from tests.support.data import make_rows
from tests.support.running import assert_same_bits, tensor

HEAVY_ROWS = make_rows(1_024, seed=1)
HEAVY = pb.ScoreRequest(tensor=tensor(HEAVY_ROWS))
LIGHT = make_rows(1, seed=2)
CALLS = 12


async def closed_loop(score, request, count):
    while True:
        await score(request)
        count.append(1)


@contextlib.asynccontextmanager
async def serving(model_path, **settings):
    server = Server(ServeConfig(model=model_path, port=0, metrics_port=0, threads=1, **settings))
    await server.start()
    await server.load()
    try:
        yield server
    finally:
        await server.stop()


def channel_to(server):
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options)


async def rows_meanwhile(server, score, expected):
    """Return, for each of some calls of one row, how many rows the service computes meanwhile."""
    computed, rows = server.metrics.registry.get_sample_value, []
    for _ in range(CALLS):
        before = computed("anomaly_vae_batch_rows_sum")
        assert_same_bits(await score(pb.ScoreRequest(tensor=tensor(LIGHT)), timeout=60), expected)
        rows.append(computed("anomaly_vae_batch_rows_sum") - before)
    return rows


def full_batch(server, scorer):
    """Return the rows of a full batch at the speed that the service has measured."""
    return server._scoring._queue._scheduler.costs.full_batch(CostKey(False, False, scorer.num_samples))


@pytest.mark.parametrize("same", [False, True], ids=["another caller", "the same connection"])
def test_a_row_does_not_wait_for_a_closed_loop_of_long_requests(model_path, scorer, same):
    """Each of the four has waited longer than its own rows take; a new short request must still go first."""

    async def scenario():
        async with serving(model_path, grace=0.0) as server, channel_to(server) as busy, channel_to(server) as calm:
            heavy, done = ScoringServiceStub(busy).Score, []
            tasks = [asyncio.create_task(closed_loop(heavy, HEAVY, done)) for _ in range(4)]
            while len(done) < 4:
                await asyncio.sleep(0.05)
            light = ScoringServiceStub(busy if same else calm).Score
            rows = await rows_meanwhile(server, light, scorer.score(LIGHT))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return rows, full_batch(server, scorer)

    rows, batch = asyncio.run(scenario())
    assert batch <= len(HEAVY_ROWS) / 4
    assert np.median(rows) <= 4 * batch, rows


def test_a_row_of_the_twentieth_caller_waits_for_one_tile_of_each_other(model_path, scorer):
    async def scenario():
        async with serving(model_path, grace=0.0) as server, contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(channel_to(server)) for _ in range(20)]
            done = []
            tasks = [
                asyncio.create_task(closed_loop(ScoringServiceStub(channel).Score, request, done))
                for channel, request in zip(channels[1:], requests, strict=True)
            ]
            while len(done) < 40:
                await asyncio.sleep(0.05)
            rows = await rows_meanwhile(server, ScoringServiceStub(channels[0]).Score, scorer.score(LIGHT))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return rows, full_batch(server, scorer)

    sizes = np.resize([1, 2, 16, 40, 64, 200], 19)
    requests = [pb.ScoreRequest(tensor=tensor(make_rows(size, seed=3))) for size in sizes]
    rows, batch = asyncio.run(scenario())
    assert np.median(rows) <= 20 * 16 + 4 * batch, rows  # the next tile of every caller, and the batches in progress


def test_many_rows_of_the_shipped_client_do_not_delay_one_row_of_another(model_path, scorer):
    """The client always has its next parts waiting: a minute of work in all, because no row meets the error target."""

    async def scenario():
        async with serving(model_path, grace=0.0) as server, channel_to(server) as calm:
            async with AsyncClient(f"127.0.0.1:{server.port}", timeout=600) as client:
                batch = asyncio.create_task(client.score(np.resize(HEAVY_ROWS, (60_000, 5)), max_std_error=1e-9))
                computed = server.metrics.registry.get_sample_value
                while computed("anomaly_vae_batch_rows_sum") < 4_096:
                    await asyncio.sleep(0.05)
                rows = await rows_meanwhile(server, ScoringServiceStub(calm).Score, scorer.score(LIGHT))
                assert not batch.done()
                batch.cancel()
                await asyncio.gather(batch, return_exceptions=True)
            return rows

    rows = asyncio.run(scenario())
    assert np.median(rows) <= 4 * 32, rows


def test_the_speed_is_measured_before_the_first_request(model_path, monkeypatch):
    """So that the deadlines of the first requests are judged by this machine's speed, not by a guess.

    Scores and decisions are measured apart, each on whole tiles.
    """
    found = []

    def measuring(served):
        found.extend(measure_speed(served))
        return found

    monkeypatch.setattr(shelf_module, "measure_speed", measuring)

    async def scenario():
        async with serving(model_path) as server:
            queue, served = server._scoring._queue, server.models.models["model"].default
            costs = queue._scheduler.costs
            return served, dict(costs._seconds_per_row), costs._seconds_per_sample[served.key]

    served, known, per_sample = asyncio.run(scenario())
    budget = served.scorer.num_samples
    assert set(known) == {(flag_only, False, budget, 1.0, served.key) for flag_only in (False, True)}
    assert [options.flag_only for options, _, _ in found] == [False, True]
    for options, num_rows, seconds in found:
        assert seconds > 0.0
        assert num_rows % TILE_ROWS == 0
        assert known[options.flag_only, False, budget, 1.0, served.key] == pytest.approx(seconds / num_rows)
    assert known[False, False, budget, 1.0, served.key] == pytest.approx(_USUAL_SAMPLES * per_sample)
    assert per_sample != _SECONDS_PER_SAMPLE
