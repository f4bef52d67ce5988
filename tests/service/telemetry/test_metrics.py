"""The metrics, checked by arithmetic, by promtool, and by a real Prometheus that scrapes."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client import generate_latest

from anomaly_vae.bundle.files import with_calibration
from anomaly_vae.calibration import calibrate
from anomaly_vae.scorer import Scorer
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.data import make_rows
from tests.support.running import fault_of, running, score, tensor

MODEL = '{model_name="model",model_version="1"}'
DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"


def needs(program):
    """Skip the test if a Debian program is missing. In CI, which installs it, fail instead."""
    if shutil.which(program) is None:
        message = f"{program} is not installed (Debian: apt-get install prometheus)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


def test_rows_are_counted_by_outcome_and_scores_by_bucket(service, channel, scorer):
    rows = np.concatenate([make_rows(60, seed=11), make_rows(40, seed=12) + np.array([0, 0.5, 0, 0, 0])])
    scores = scorer.score(rows)
    names = ["anomaly_vae_rows_total", "anomaly_vae_p_value_count", "anomaly_vae_log_px_nats_count"]
    before = [service.metric(name) for name in names]
    anomalies = service.metric("anomaly_vae_rows_total", outcome="anomaly")
    score(channel, tensor=tensor(rows))
    assert [service.metric(name) for name in names] == [value + 100 for value in before]
    assert (
        service.metric("anomaly_vae_rows_total", outcome="anomaly") == anomalies + scores.is_anomaly.sum() > anomalies
    )
    if before[0] == 0:
        assert service.metric("anomaly_vae_p_value_bucket", le="0.1") == (scores.p_value <= 0.1).sum()
        assert service.metric("anomaly_vae_log_px_nats_sum") == pytest.approx(scores.log_px.sum())


def test_flag_only_counts_rows_and_samples_but_no_scores(service, channel, new_rows):
    names = ("anomaly_vae_samples_per_row_count", "anomaly_vae_ess_ratio_count", "anomaly_vae_log_px_nats_count")
    before = [service.metric(name) for name in names]
    score(channel, tensor=tensor(new_rows), flag_only=True)
    after = [service.metric(name) for name in names]
    assert np.subtract(after, before).tolist() == [len(new_rows), 0, 0]


def test_an_uncalibrated_budget_fills_no_calibrated_histogram(service, channel):
    names = ["anomaly_vae_p_value_count", "anomaly_vae_log_px_nats_count"]
    before = [service.metric(name) for name in names]
    spent = service.metric("anomaly_vae_samples_per_row_bucket", le="32.0")
    score(channel, tensor=tensor(make_rows(7)), num_samples=32)
    assert [service.metric(name) for name in names] == before
    assert service.metric("anomaly_vae_rows_total", outcome="unflagged") == 7
    assert service.metric("anomaly_vae_samples_per_row_bucket", le="32.0") == spent + 7


def test_p_values_of_rows_like_the_calibration_rows_are_uniform(model_path):
    """A tenth of normal rows falls in each tenth, within the chance of 139 calibration rows."""
    with running(model_path) as service, service.channel() as channel:
        score(channel, tensor=tensor(make_rows(4000, seed=21)))
        shares = [service.metric("anomaly_vae_p_value_bucket", le=str(j / 10)) / 4000 for j in range(1, 11)]
    np.testing.assert_allclose(shares, np.arange(1, 11) / 10, atol=0.12)
    assert shares[-1] == 1.0


def test_log_px_buckets_lie_at_calibration_quantiles(service, scorer):
    text = service.get("/metrics")[1]
    bounds = [float(le) for le in re.findall(r'anomaly_vae_log_px_nats_bucket\{le="([^"+]+)"', text)]
    assert bounds == sorted(set(bounds))
    for quantile in (0.01, 0.5, 0.99):
        assert np.isclose(bounds, np.quantile(scorer.bundle.calibration, quantile), rtol=1e-5).any()


def test_the_model_s_gauges(service, scorer):
    calibration = scorer.info["calibration"]
    assert service.metric("anomaly_vae_threshold_nats") == calibration["threshold"]
    assert service.metric("anomaly_vae_expected_anomaly_ratio") == calibration["effective_fpr"]
    assert service.metric("anomaly_vae_calibration_rows") == calibration["num_rows"]
    assert service.metric("anomaly_vae_model_info", model_name="model", model_version="1", format_version="7") == 1
    assert abs(service.metric("anomaly_vae_model_loaded_timestamp_seconds") - time.time()) < 600


def test_a_model_with_two_thresholds_shows_both(bundle):
    """The buckets of log p(x) end at them. A model with one threshold has no gauge of the upper one."""
    record, scores = calibrate(bundle.calibration, np.zeros(len(bundle.calibration), bool), 0.1, tail="both")
    scorer, metrics = Scorer(with_calibration(bundle, record, scores, ""), threads=1), Metrics(10, 10)
    assert b"upper_threshold" not in generate_latest(metrics.registry)
    metrics.models.add(("model", "1"), scorer)
    text = generate_latest(metrics.registry).decode()
    gauges = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(gauges["anomaly_vae_threshold_nats" + MODEL]) == scorer.threshold
    assert float(gauges["anomaly_vae_upper_threshold_nats" + MODEL]) == scorer.upper_threshold
    assert float(gauges["anomaly_vae_expected_anomaly_ratio" + MODEL]) == record.effective_fpr == 12 / 121
    bounds = [float(le) for le in re.findall(r'anomaly_vae_log_px_nats_bucket\{le="([^"+]+)"', text)]
    assert {float(f"{value:.6g}") for value in (scorer.threshold, scorer.upper_threshold)} <= set(bounds)


def test_calls_are_counted_as_go_grpc_does(model_path):
    with running(model_path) as service, service.channel() as channel:
        labels = {"grpc_service": "anomaly_vae.v1.ScoringService", "grpc_method": "Score", "grpc_type": "unary"}
        for code in ("OK", "InvalidArgument", "Canceled", "DeadlineExceeded", "Unavailable", "Internal"):
            assert service.metric("grpc_server_handled_total", grpc_code=code, **labels) == 0
        for _ in range(3):
            score(channel, tensor=tensor(make_rows(2)))
        fault_of(score, channel)
        fault_of(score, channel, model_name="other")
        assert service.metric("grpc_server_started_total", **labels) == 5
        for code, count in (("OK", 3), ("InvalidArgument", 1), ("NotFound", 1)):
            assert service.metric("grpc_server_handled_total", grpc_code=code, **labels) == count
        assert service.metric("grpc_server_handling_seconds_count", **labels) == 5
        for stage in ("queue", "decode", "infer", "encode"):
            assert service.metric("anomaly_vae_stage_seconds_count", stage=stage) == 3


def test_started_and_handled_agree_after_cancelled_and_expired_calls(service, channel):
    request = pb.ScoreRequest(tensor=tensor(make_rows(400)))
    calls = []
    for i in range(60):
        calls.append(ScoringServiceStub(channel).Score.future(request, timeout=0.002 * i + 0.001))
        if i % 3 == 0:
            calls[-1].cancel()
    for call in calls:
        with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
            call.result()
    until = time.monotonic() + 10
    method = {"grpc_method": "Score"}
    while service.metric("grpc_server_started_total", **method) != service.metric(
        "grpc_server_handled_total", **method
    ):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert service.metric("anomaly_vae_queue_rows") == 0


def test_promtool_finds_nothing_to_lint(service, channel):
    needs("promtool")
    score(channel, tensor=tensor(make_rows(2)))
    text = service.get("/metrics")[1]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Prometheus:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path, **parameters):
        url = f"{self.url}/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 (our own, on loopback)
            return json.load(reply)["data"]

    def query(self, expression):
        return [float(item["value"][1]) for item in self.get("query", query=expression)["result"]]


@pytest.fixture
def prometheus(service, tmp_path):
    """A real Prometheus with the configuration of deploy/, which scrapes the service every second."""
    needs("prometheus")
    shutil.copytree(DEPLOY, tmp_path / "config")
    config = tmp_path / "config" / "prometheus.yml"
    text = config.read_text()
    assert "scorer:9464" in text
    config.write_text(text.replace("scorer:9464", f"127.0.0.1:{service.metrics_port}").replace("15s", "1s"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_prometheus_scrapes_and_answers(prometheus, service, channel):
    rows = service.metric("anomaly_vae_rows_total") + 50
    score(channel, tensor=tensor(make_rows(50, seed=31)))
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            if prometheus.query("sum(anomaly_vae_rows_total)") == [rows]:
                break
        assert time.monotonic() < until, "Prometheus never saw the rows"
        time.sleep(0.3)
    assert prometheus.query('up{job="anomaly_vae"}') == [1.0]
    assert prometheus.query("anomaly_vae_threshold_nats") == [service.metric("anomaly_vae_threshold_nats")]
    (median,) = prometheus.query("histogram_quantile(0.5, sum by (le) (anomaly_vae_p_value_bucket))")
    assert 0 < median < 1
    assert prometheus.query('grpc_server_handled_total{grpc_method="Score",grpc_code="OK"}')[0] >= 1
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert sum(rule["type"] == "alerting" for rule in rules) >= 10
    (target,) = prometheus.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
