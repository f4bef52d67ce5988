"""ModelStatistics: requests and computations since the model was loaded, in agreement with the metrics."""

import asyncio
import time

import grpc
import pytest

from anomaly_vae.service.call_errors import CallError, invalid
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.pb import scoring_pb2
from anomaly_vae.service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.telemetry.totals import RequestTotals
from tests.support.data import make_rows
from tests.support.inference_requests import BAD_ROWS, infer, number, request, stream
from tests.support.running import fault_of, running, score, tensor

STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def statistics(channel, name="model", version=""):
    message = pb.ModelStatisticsRequest(name=name, version=version)
    (found,) = GRPCInferenceServiceStub(channel).ModelStatistics(message, timeout=10).model_stats
    return found


def counts(found):
    return {stage: getattr(found.inference_stats, stage).count for stage in STAGES}


def test_before_the_first_request_all_counts_are_zero(model_path):
    with running(model_path) as service, service.channel() as channel:
        fault_of(infer, channel, request(model_name="other"))  # no request of this one
        GRPCInferenceServiceStub(channel).ModelReady(pb.ModelReadyRequest(name="model"), timeout=10)
        found = statistics(channel)
        assert (found.name, found.version) == ("model", "1")
        assert (found.last_inference, found.inference_count, found.execution_count) == (0, 0, 0)
        assert set(counts(found).values()) == {0}


def test_requests_of_all_services_and_streams_are_counted_once(model_path):
    """Seven requests with scores, three of them in streams, and three without, one of them in a stream."""
    rows = make_rows(12, seed=4)
    with running(model_path) as service, service.channel() as channel:
        before = time.time()
        infer(channel, request(rows[:5]))
        infer(channel, request(rows[:2], parameters={"num_samples": number(16)}))
        score(channel, tensor=tensor(rows[:3]))
        score(channel, tensor=tensor(rows[:4]), flag_only=True)
        list(ScoringServiceStub(channel).ScoreStream(iter([scoring_pb2.ScoreRequest(tensor=tensor(rows))]), timeout=60))
        list(stream(channel, [request(rows[:1]), request(BAD_ROWS), request(model_version="9"), request(rows[:7])]))
        fault_of(infer, channel, request(BAD_ROWS))
        fault_of(score, channel)
        after, found = time.time(), statistics(channel)
        assert counts(found) == dict.fromkeys(STAGES, 7) | {"fail": 3}
        assert found.inference_count == 5 + 2 + 3 + 4 + 12 + 1 + 7
        assert found.execution_count == service.metric("anomaly_vae_batch_rows_count")
        assert 1000 * before - 1 <= found.last_inference <= 1000 * after
        stages = {"queue": "queue", "compute_input": "decode", "compute_output": "encode"}
        for stage, name in stages.items():
            seconds = service.metric("anomaly_vae_stage_seconds_sum", stage=name)
            assert getattr(found.inference_stats, stage).ns == pytest.approx(1e9 * seconds, abs=1)


def test_the_time_of_requests_includes_that_of_their_stages(model_path):
    """The time is that of the request, not the sum over the threads that work on it."""
    with running(model_path) as service, service.channel() as channel:
        began = time.perf_counter_ns()
        for _ in range(5):
            infer(channel, request(make_rows(200)))
        fault_of(infer, channel, request(BAD_ROWS))
        took = time.perf_counter_ns() - began
        stats = statistics(channel).inference_stats
        parts = [stats.queue.ns, stats.compute_input.ns, stats.compute_infer.ns, stats.compute_output.ns]
        assert min(parts) > 0
        assert sum(parts) < stats.success.ns
        assert stats.compute_infer.ns > 0.5 * stats.success.ns
        assert 0 < stats.fail.ns < stats.success.ns < took


def test_a_request_past_its_deadline_has_failed(model_path):
    with running(model_path) as service, service.channel() as channel:
        slow = request(make_rows(3000), parameters={"num_samples": number(2048)})
        assert fault_of(infer, channel, slow, timeout=0.2)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        deadline = time.monotonic() + 60
        while counts(statistics(channel))["fail"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert counts(statistics(channel)) == dict.fromkeys(STAGES, 0) | {"fail": 1}


@pytest.mark.parametrize(("name", "version"), [("", ""), ("", "1"), ("model", "1")])
def test_a_model_may_be_left_unnamed(channel, name, version):
    assert statistics(channel, name, version).name == "model"


@pytest.mark.parametrize(("name", "version", "field"), [("other", "", "name"), ("model", "2", "version")])
def test_another_model_or_version_is_not_found(channel, name, version, field):
    code, _, fields = fault_of(statistics, channel, name, version)
    assert (code, fields) == (grpc.StatusCode.NOT_FOUND, [field])


class TestRequestTotals:
    def counts(self, totals):
        return [series.read()[0][-1] for series in (totals.success, totals.fail)]

    def test_a_context_without_an_exception_is_a_success_with_a_time(self):
        totals, before = RequestTotals(), time.time()
        with totals.timed():
            pass
        assert self.counts(totals) == [1, 0]
        assert before <= totals.last_success <= time.time()

    @pytest.mark.parametrize("error", [invalid("rows", "bad"), ValueError("ours"), asyncio.CancelledError()])
    def test_a_context_that_raises_is_a_failure_and_the_exception_continues(self, error):
        totals = RequestTotals()
        with pytest.raises(type(error)), totals.timed():
            raise error
        assert self.counts(totals) == [0, 1]
        assert totals.last_success == 0

    @pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE])
    def test_requests_for_another_model_are_not_counted(self, code):
        totals = RequestTotals()
        with pytest.raises(CallError), totals.timed():
            raise CallError(code, "elsewhere")
        assert self.counts(totals) == [0, 0]
