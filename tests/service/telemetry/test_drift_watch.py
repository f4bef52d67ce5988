"""The detector of a served model: cheap, safe for threads, and started with the model."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import generate_latest

from anomaly_vae.assessment.martingale import ScoreWatch
from anomaly_vae.columns.row_state import NOTHING_TO_JUDGE
from anomaly_vae.service.telemetry.drift_watch import DriftWatch
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.data import make_rows
from tests.support.shaped_scorers import SumScorer


def model(calibration, num_novel=0):
    manifest = SimpleNamespace(calibration=SimpleNamespace(num_novel=num_novel))
    return SimpleNamespace(bundle=SimpleNamespace(calibration=np.sort(calibration), manifest=manifest))


def scores(values, reasons=()):
    """Scores with these values; reasons by row."""
    found = SumScorer(None).score_rows(np.asarray(values)[:, None])
    return type(found)(**{**vars(found), "reason": [dict(reasons).get(i) for i in range(len(found))]})


def test_small_batches_give_what_one_large_one_gives():
    rng = np.random.default_rng(1)
    calibration, values = rng.normal(size=2000), rng.normal(size=1000) - 0.4
    watch, plain = DriftWatch(model(calibration)), ScoreWatch(np.sort(calibration), 0)
    plain.add(values)
    for start in range(0, 1000, 3):
        watch.add(scores(values[start : start + 3]))
        if start == 300:
            watch.log_martingale()  # reading in between changes nothing
    assert watch.log_martingale() == pytest.approx(plain.log_martingale, abs=1e-9)
    assert watch.log_detector() == pytest.approx(plain.log_detector, abs=1e-9)
    assert plain.log_detector > 10


def test_rows_that_wait_for_a_block_count_as_soon_as_somebody_reads():
    watch = DriftWatch(model(np.arange(100.0)))
    watch.add(scores(np.full(20, -5.0)))
    assert watch.log_martingale() > 5


def test_rows_below_all_others_are_told_from_low_ones_by_their_reason():
    """A new value in a row that is not low shows no such row, nor does a low score without a reason."""
    watch = DriftWatch(model(np.arange(100.0), num_novel=20))
    batch = scores([-7.0, -7.0, 50.0, 50.0], {0: "new", 2: "new"})
    assert watch._ranked(batch).tolist() == [-np.inf, -7.0, 50.0, 50.0]
    assert DriftWatch(model(np.arange(100.0)))._ranked(batch).tolist() == [-7.0, -7.0, 50.0, 50.0]


def test_several_threads_may_add_and_read():
    watch = DriftWatch(model(np.arange(100.0)))
    batch = scores(np.random.default_rng(3).uniform(0.0, 100.0, size=7))

    def work():
        for _ in range(100):
            watch.add(batch)
            watch.log_detector()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch._watch.num_rows == 2800


def gauges(metrics):
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("anomaly_vae_drift_log")}


def test_only_calibrated_scores_count_and_a_loaded_model_starts_anew(scorer):
    metrics = Metrics(10, 10)
    metrics.models.add(("model", "1"), scorer)
    start = gauges(metrics)
    names = {
        f'anomaly_vae_drift_log_{name}{{model_name="model",model_version="1"}}' for name in ("martingale", "detector")
    }
    assert start == dict.fromkeys(names, 0.0)
    odd = make_rows(40, seed=5) + np.array([0, 0.5, 0, 0, 0])
    metrics.count_scores(("model", "1"), scorer.score_rows(odd, num_samples=32))
    metrics.count_scores(("model", "1"), scorer.flag_rows(odd))
    assert gauges(metrics) == start
    metrics.count_scores(("model", "1"), scorer.score_rows(odd))
    assert min(gauges(metrics).values()) > 10
    metrics.models.add(("model", "1"), scorer)
    assert gauges(metrics) == start


def test_series_have_no_detector(scorer):
    metrics = Metrics(10, 10)
    series = SimpleNamespace(schema=SimpleNamespace(kind="series"), bundle=scorer.bundle)
    metrics.models.add(("model", "1"), series)
    metrics.count_scores(("model", "1"), scorer.score_rows(make_rows(5)))
    assert gauges(metrics) == {}


def test_rows_with_nothing_to_judge_do_not_count():
    """The calibration has none of them. All have one score, the highest: they would look like a change."""
    watch = DriftWatch(model(np.arange(1000.0)))
    batch = scores(np.zeros(400), dict.fromkeys(range(400), NOTHING_TO_JUDGE))
    watch.add(type(batch)(**{**vars(batch), "score": np.full(400, 999.0)}))
    assert watch.log_martingale() == 0.0
    watch.add(scores(np.zeros(400)))
    assert watch.log_martingale() > 5.0
