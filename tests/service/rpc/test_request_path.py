"""The path of a request, with a message format and a model of its own: no gRPC and no network."""

import asyncio
import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags
from anomaly_vae.service.call_errors import CallError, invalid
from anomaly_vae.service.rpc.request_path import RequestOptions, RequestPath
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import begin_record
from tests.support.served import serve

BAD_ROWS = b"bad rows"
STAGES = ["decode", "queue", "infer", "encode"]


class Model:
    """Flags no row or all, and takes its time if it must."""

    name, version = key = "model", "1"

    def __init__(self, seconds=0.0, flags=False):
        self.scorer = SimpleNamespace(schema=SimpleNamespace(columns=["a", "b"]), num_samples=16)
        self.seconds, self.flags = seconds, flags

    def compute(self, rows, _options):
        time.sleep(self.seconds)
        n = len(rows)
        return Flags(is_anomaly=np.full(n, self.flags), num_samples=np.full(n, 16), reason=[None] * n)


class Format:
    """A request is any bytes; it has three rows."""

    def __init__(self, queue_rows, timeout=None, claim=3, **explain):
        self.queue_rows, self.timeout, self.claim, self.explain = queue_rows, timeout, claim, explain
        self.rows_in_queue, self.threads = [], []

    def parse(self, data):
        self.threads.append(threading.current_thread())
        return data

    def request_id(self, _message):
        return "order 66"

    def pick(self, scoring, _message):
        return scoring.model()

    def count_rows(self, _served, _message):
        return self.claim

    def options(self, _served, _message):
        return RequestOptions(ScoreOptions(num_samples=16), self.timeout, **self.explain)

    def make_rows(self, _served, message):
        self.threads.append(threading.current_thread())
        self.rows_in_queue.append(self.queue_rows())
        if message == BAD_ROWS:
            raise invalid("rows", "are bad")
        return np.zeros((3, 2))

    def write_reply(self, _served, message, _options, scores, _explanations):
        self.threads.append(threading.current_thread())
        self.rows_in_queue.append(self.queue_rows())
        return message[:4] + b" %d" % len(scores)


def on_path(scenario, model=None, **options):
    """Run a scenario, given a path, its format and a function that reads a metric."""

    async def run():
        metrics = Metrics(1_000, 10**9)
        value = metrics.registry.get_sample_value
        scoring = Scoring(ServeConfig(model=Path("model"), max_rows=3, max_queue_rows=4), metrics, threads=1)
        serve(scoring, Model() if model is None else model)
        message_format = Format(lambda: value("anomaly_vae_queue_rows"), **options)
        try:
            return await scenario(RequestPath(scoring, message_format), message_format, value)
        finally:
            await scoring.close()

    return asyncio.run(run())


def test_room_is_taken_once_before_the_rows_are_made_and_given_back_before_the_reply_is_written():
    async def scenario(path, message_format, value):
        assert await path.answer(b"good", math.inf) == b"good 3"
        assert message_format.rows_in_queue == [3, 0]
        assert value("anomaly_vae_queue_bytes") == 0

    on_path(scenario)


def test_room_is_given_back_if_the_rows_are_wrong():
    async def scenario(path, message_format, value):
        with pytest.raises(CallError, match="are bad"):
            await path.answer(BAD_ROWS, math.inf)
        assert message_format.rows_in_queue == [3]
        assert value("anomaly_vae_queue_rows") == value("anomaly_vae_queue_bytes") == 0
        assert value("anomaly_vae_rows_total", {"model_name": "model", "model_version": "1", "outcome": "invalid"}) == 3
        assert value("anomaly_vae_stage_seconds_count", {"stage": "decode"}) == 0

    on_path(scenario)


@pytest.mark.parametrize(("explain_all", "rows_made"), [(True, 0), (False, 1)])
def test_explanations_that_would_take_too_much_memory_are_refused(explain_all, rows_made, monkeypatch):
    """Three rows with two columns each; flagged rows are known only after they were scored."""
    monkeypatch.setattr("anomaly_vae.service.rpc.request_path._MOST_NAMED", 5)

    async def scenario(path, message_format, value):
        with pytest.raises(CallError, match="asks for 2 columns of 3 rows each; all rows") as error:
            await path.answer(b"good", math.inf)
        assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert len(message_format.rows_in_queue) == rows_made
        assert value("anomaly_vae_queue_rows") == 0

    on_path(scenario, Model(flags=True), explain=2, explain_all=explain_all)


def test_without_room_no_rows_are_made():
    """4 rows may be queued; one request of 3 leaves no room for another one."""

    async def scenario(path, message_format, value):
        first = asyncio.create_task(path.answer(b"good", math.inf))
        await asyncio.sleep(0.01)
        with pytest.raises(CallError) as error:
            await path.answer(BAD_ROWS, math.inf)
        assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert message_format.rows_in_queue == [3]
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 1
        assert await first == b"good 3"

    on_path(scenario, Model(seconds=0.2))


def test_a_claim_of_more_rows_than_a_request_may_have_is_wrong_rather_than_too_much_for_the_queue():
    """To send it again later, as a full queue asks, would not help. 3 rows are the most, 4 may be queued."""

    async def scenario(path, _message_format, value):
        with pytest.raises(CallError, match="are bad") as error:
            await path.answer(BAD_ROWS, math.inf)
        assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 0
        invalid = {"model_name": "model", "model_version": "1", "outcome": "invalid"}
        assert value("anomaly_vae_rows_total", invalid) == 100
        assert value("anomaly_vae_queue_rows") == value("anomaly_vae_queue_bytes") == 0

    on_path(scenario, claim=100)


def test_a_stream_waits_for_room_after_the_rows_are_made():
    async def scenario(path, message_format, value):
        async def requests():
            yield b"one "
            yield b"two "

        replies = [reply async for reply in path.answer_stream(requests(), math.inf)]
        assert replies == [b"one  3", b"two  3"]
        assert message_format.rows_in_queue[:2] == [0, 3]
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 0
        assert value("anomaly_vae_queue_rows") == 0

    on_path(scenario, Model(seconds=0.05))


def test_each_stage_is_booked_once_in_the_metrics_and_in_the_record():
    async def scenario(path, _message_format, value):
        record = begin_record("unary", "service", "method")
        record.stages = []
        await path.answer(b"good", math.inf)
        assert [value("anomaly_vae_stage_seconds_count", {"stage": stage}) for stage in STAGES] == [1, 1, 1, 1]
        assert [name for name, _, _ in record.stages] == STAGES
        times = [time for _, start, end in record.stages for time in (start, end)]
        assert times == sorted(times)
        assert value("anomaly_vae_stage_seconds_sum", {"stage": "infer"}) >= 0.05
        assert (record.request_id, record.rows, record.model_version) == ("order 66", 3, "1")

    on_path(scenario, Model(seconds=0.05))


@pytest.mark.parametrize(("size", "leaves"), [(2**18, False), (2**18 + 1, True)])
def test_large_requests_are_read_in_a_thread(size, leaves):
    async def scenario(path, message_format, _value):
        await path.answer(b"x" * size, math.inf)
        parse, make_rows, write_reply = (thread is not threading.main_thread() for thread in message_format.threads)
        assert (parse, make_rows, write_reply) == (leaves, leaves, False)

    on_path(scenario)


def test_the_request_s_own_timeout_ends_it():
    async def scenario(path, _message_format, value):
        with pytest.raises(CallError, match="the request's timeout passed") as error:
            await path.answer(b"good", math.inf)
        assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert value("anomaly_vae_queue_rows") == 0

    on_path(scenario, Model(seconds=0.5), timeout=0.05)


def test_a_written_error_takes_the_place_of_a_reply_in_a_stream():
    async def scenario(path, _message_format, value):
        async def requests():
            yield BAD_ROWS
            yield b"good"

        def write_error(data, error):
            return data + b": " + error.text.encode()

        replies = [reply async for reply in path.answer_stream(requests(), math.inf, write_error)]
        assert replies == [b"bad rows: are bad", b"good 3"]
        assert value("anomaly_vae_stream_errors_total", {"grpc_code": "InvalidArgument"}) == 1

    on_path(scenario)
