"""What the services share: the model, and the queue of rows."""

import asyncio
import math
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.loading import Measured
from anomaly_vae.service.queue.jobs import BatchKey
from anomaly_vae.service.scoring import Scoring, expiry
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import begin_record
from tests.support.queues import OPTIONS, Echo, rows_from, unblocked
from tests.support.served import serve

CONFIG = ServeConfig(model=Path("model"), max_rows=100, max_queue_rows=100)


def with_columns(model, number):
    model.scorer = SimpleNamespace(schema=SimpleNamespace(columns=range(number)), num_samples=16)
    return model


def on_scoring(scenario):
    async def run():
        metrics = Metrics(100, CONFIG.queue_bytes)
        scoring = Scoring(CONFIG, metrics, threads=1)
        try:
            return await asyncio.wait_for(scenario(scoring, metrics.registry.get_sample_value), 20)
        finally:
            await scoring.close()

    return asyncio.run(run())


def test_while_the_model_is_loaded_calls_are_unavailable_with_a_time_to_return():
    async def scenario(scoring, value):
        with pytest.raises(CallError, match="the model is still being loaded") as error:
            scoring.model()
        assert (error.value.code, error.value.retry_after) == (grpc.StatusCode.UNAVAILABLE, 0.5)
        assert value("anomaly_vae_rejected_total", {"reason": "draining"}) == 0
        model = with_columns(Echo(), 1)
        serve(scoring, model)
        assert scoring.model() is model

    on_scoring(scenario)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_once_it_drains_calls_are_unavailable_and_counted(is_loaded):
    async def scenario(scoring, value):
        if is_loaded:
            serve(scoring, with_columns(Echo(), 1))
        scoring.drain()
        with pytest.raises(CallError, match="the server is shutting down; connect again") as error:
            scoring.model()
        assert (error.value.code, error.value.retry_after) == (grpc.StatusCode.UNAVAILABLE, None)
        assert value("anomaly_vae_rejected_total", {"reason": "draining"}) == 1

    on_scoring(scenario)


def test_a_measured_speed_is_known_before_the_first_request():
    """The only row is predicted to take 40 ms, the 3,200th part of what 3,200 rows took."""

    async def scenario(scoring, value):
        model = with_columns(Echo(), 1)
        serve(scoring, model, measured=[Measured(OPTIONS, 3_200, 128.0)])
        costs = scoring._queue._scheduler.costs
        assert costs.seconds(BatchKey(model, OPTIONS).cost, 1) == pytest.approx(0.04)

    on_scoring(scenario)


def test_room_is_reserved_for_the_current_caller_in_float64():
    """Three rows of five columns take 3 * 5 * 8 bytes."""

    async def scenario(scoring, value):
        begin_record("unary", "service", "method", caller="token:billing")
        with scoring.reservation(with_columns(Echo(), 5), OPTIONS, 3) as reservation:
            reservation.take()
            assert reservation.caller == "token:billing"
            assert value("anomaly_vae_queue_rows") == 3
            assert value("anomaly_vae_queue_bytes") == 120

    on_scoring(scenario)


def test_rows_are_scored_and_those_that_outlast_the_service_are_cut():
    async def scenario(scoring, value):
        model = with_columns(unblocked(), 1)
        with scoring.reservation(model, OPTIONS, 3) as reservation:
            scored = await scoring.score(reservation, rows_from(5, 3), math.inf)
            assert scored.result.num_samples.tolist() == [5, 6, 7]
        stuck = with_columns(Echo(), 1)
        with scoring.reservation(stuck, OPTIONS, 4) as reservation:
            task = asyncio.create_task(scoring.score(reservation, rows_from(0, 4), math.inf))
            await asyncio.to_thread(stuck.begun.wait)
            scoring.drain()
            assert scoring.cut() == (1, 4)
            with pytest.raises(CallError, match="its grace is over") as error:
                await task
            assert error.value.code is grpc.StatusCode.UNAVAILABLE
        stuck.go.set()

    on_scoring(scenario)


def test_a_time_remaining_becomes_a_time_on_the_monotonic_clock():
    assert expiry(None) == math.inf
    before = time.monotonic()
    assert before + 5.0 <= expiry(5.0) <= time.monotonic() + 5.0
