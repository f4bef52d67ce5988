"""A model is loaded, checked against the limits, and timed."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service import loading
from anomaly_vae.service.loading import load_served, measure_speed
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from tests.support.served import SCHEMA

SCORES, FLAGS = ScoreOptions(num_samples=1_024), ScoreOptions(flag_only=True)


@pytest.fixture
def loads(monkeypatch):
    """The arguments of each load of a model with five columns, calibrated for 1,024 samples."""
    found = []

    def load(path, **options):
        found.append((path, options))
        return SimpleNamespace(num_samples=1_024, schema=SCHEMA, budgets=(16, 64, 1_024, 4_096))

    monkeypatch.setattr(loading, "load", load)
    return found


def test_a_loaded_model_has_the_name_the_version_and_the_budgets_of_the_settings(loads):
    served = load_served(ServeConfig(model=Path("models/fraud/12"), max_samples=1_024), threads=3)
    assert (served.name, served.version) == ("fraud", "12")
    assert served.budgets == (16, 64, 1_024)
    ((path, options),) = loads
    assert path == Path("models/fraud/12")
    assert options["threads"] == 1  # each thread of the queue computes alone
    assert set(options) == {"threads", "slots"}


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
    scorer = SimpleNamespace(num_samples=16, schema=Schema(columns=columns, shape=shape), budgets=(16,))
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
