"""A model is loaded, checked against the limits, and timed."""

import gc
import re
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.density.noise import Noise
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service import loading
from anomaly_vae.service.loading import Loader, measure_speed
from anomaly_vae.service.served import ExplainOptions, Served
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.model_metrics import ModelMetrics
from tests.support.served import SCHEMA

SCORES, FLAGS = ScoreOptions(num_samples=1_024), ScoreOptions(flag_only=True)


@pytest.fixture
def loads(monkeypatch):
    """The arguments of each load of a model with five columns, calibrated for 1,024 samples."""
    found = []

    def load(path, **options):
        found.append((path, options))
        return scorer_with(num_samples=1_024, schema=SCHEMA, budgets=(16, 64, 1_024, 4_096))

    monkeypatch.setattr(loading, "load", load)
    return found


def scorer_with(**facts):
    """Return a scorer, which other than a SimpleNamespace can be referred to weakly."""
    return type("FakeScorer", (), {"bundle": SimpleNamespace(digest="0123"), **facts})()


def load_served(config, threads):
    return Loader(config, threads).load("fraud", "12", Path("models/fraud/12"))


def test_a_loaded_model_has_its_name_its_version_and_the_budgets_of_the_settings(loads):
    served = load_served(ServeConfig(model=Path("m"), max_samples=1_024), threads=3)
    assert (served.name, served.version) == ("fraud", "12")
    assert served.budgets == (16, 64, 1_024)
    ((path, options),) = loads
    assert path == Path("models/fraud/12")
    assert options["threads"] == 1  # each thread of the queue computes alone
    assert options["verify_key"] is None
    assert set(options) == {"threads", "slots", "verify_key"}


def test_versions_of_the_same_bundle_share_its_memory(loads):
    loader = Loader(ServeConfig(model=Path("m")), threads=1)
    first, second = loader.load("fraud", "1", Path("a")), loader.load("copy", "2", Path("b"))
    assert first.scorer is second.scorer
    assert (first.key, second.key) == (("fraud", "1"), ("copy", "2"))
    assert len(loads) == 2  # both folders were checked


def test_at_most_the_given_number_of_networks_runs_at_a_time(loads, monkeypatch):
    monkeypatch.setattr(loading, "Slots", lambda number: f"{number} slots")
    load_served(ServeConfig(model=Path("m")), threads=3)
    assert loads[0][1]["slots"] == "3 slots"


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_samples": 1_023}, "the model is calibrated for 1024 samples a row, max_samples allows 1023"),
        ({"max_columns": 4}, "the model has 5 columns, max_columns allows 4"),
    ],
)
@pytest.mark.usefixtures("loads")
def test_a_model_beyond_the_limits_is_refused(limits, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        load_served(ServeConfig(model=Path("m"), **limits), threads=1)


@pytest.mark.parametrize(("shape", "is_served"), [(None, False), (ImageShape(height=65, width=64), True)])
def test_images_may_have_more_cells_than_named_columns_are_allowed(monkeypatch, shape, is_served):
    """Rows of a table come by name as well; those of images come as tensors, which the limit does not concern."""
    columns = tuple(Column(name=f"c{i}", kind="continuous") for i in range(65 * 64))
    scorer = scorer_with(num_samples=16, schema=Schema(columns=columns, shape=shape), budgets=(16,))
    monkeypatch.setattr(loading, "load", lambda *_, **__: scorer)
    if is_served:
        assert load_served(ServeConfig(model=Path("m")), threads=1).scorer is scorer
        return
    with pytest.raises(ConfigError, match="the model has 4160 columns, max_columns allows 4096"):
        load_served(ServeConfig(model=Path("m")), threads=1)


@pytest.mark.parametrize("num_golden", [1, 5, 32, 40])
def test_the_speed_is_that_of_a_full_batch_of_golden_rows_and_the_fastest_counts(monkeypatch, num_golden):
    golden = np.arange(num_golden * 2.0).reshape(num_golden, 2)
    measured, batches = measured_with(monkeypatch, golden, [0.1, 5.0, 2.0, 0.1, 3.0, 4.0])
    assert [tuple(one) for one in measured] == [(SCORES, 32, 2.0), (FLAGS, 32, 3.0)]
    assert [(options, len(rows)) for options, rows in batches] == [
        *((SCORES, n) for n in (1, 32, 32)),
        *((FLAGS, n) for n in (1, 32, 32)),
    ]
    for _, rows in batches:
        np.testing.assert_array_equal(rows, [golden[i % num_golden] for i in range(len(rows))])


def test_the_speed_of_slow_rows_is_that_of_one(monkeypatch):
    """Rows of large images may take seconds: 128 of them, as above, would delay the start by minutes."""
    measured, batches = measured_with(monkeypatch, np.zeros((3, 2)), [2.0, 0.5])
    assert [tuple(one) for one in measured] == [(SCORES, 32, 64.0), (FLAGS, 32, 16.0)]
    assert [len(rows) for _, rows in batches] == [1, 1]


def measured_with(monkeypatch, golden, seconds):
    """Measure a model that takes these seconds; return also the rows that it got."""
    clock, batches, left = SimpleNamespace(now=0.0), [], iter(seconds)

    class Model(Served):
        def compute(self, rows, options):
            batches.append((options, rows))
            clock.now += next(left)

    monkeypatch.setattr(loading, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    scorer = SimpleNamespace(num_samples=1_024, bundle=SimpleNamespace(golden_rows=golden))
    return measure_speed(Model("m", "1", scorer, ())), batches


def test_a_model_leaves_memory_at_once_when_nobody_uses_it(model_path, monkeypatch):
    """Garbage collections are rare in the service, and leave out what was loaded at its start."""
    make_noise = Noise.__init__
    config, noises = ServeConfig(model=model_path), weakref.WeakSet()
    monkeypatch.setattr(Noise, "__init__", lambda self, *given: (noises.add(self), make_noise(self, *given))[1])
    served, metrics = Loader(config, 1).load("m", "1", model_path), ModelMetrics(CollectorRegistry())
    measure_speed(served)
    metrics.add(served.key, served.scorer)
    rows = served.scorer.bundle.golden_rows[:2]
    metrics.count_scores(served.key, served.compute(rows, served.options()))
    served.compute(rows, ExplainOptions(2))
    parts = {name: weakref.ref(part) for name, part in vars(served.scorer).items() if name in ("bundle", "_judge")}
    parts["drift"] = weakref.ref(metrics[served.key].drift)
    assert noises
    gc.disable()
    try:
        metrics.remove(served.key)
        del served
        assert [name for name, part in parts.items() if part() is not None] == []
        assert not noises
    finally:
        gc.enable()
