"""A model is loaded, checked against the limits, and timed."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service import loading
from anomaly_vae.service.loading import load_served, measure_speed
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from tests.support.served import SCHEMA


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


@pytest.mark.parametrize("num_golden", [1, 5, 32, 40])
def test_the_speed_is_that_of_a_full_batch_of_golden_rows_and_the_fastest_counts(monkeypatch, num_golden):
    golden, seconds = np.arange(num_golden * 2.0).reshape(num_golden, 2), iter([5.0, 2.0, 3.0, 4.0])
    clock, batches = SimpleNamespace(now=0.0), []

    class Model(Served):
        def compute(self, rows, options):
            batches.append((options, rows))
            clock.now += next(seconds)

    monkeypatch.setattr(loading, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    scorer = SimpleNamespace(num_samples=1_024, bundle=SimpleNamespace(golden_rows=golden))
    measured = measure_speed(Model("m", "1", scorer, ()))
    scores, flags = ScoreOptions(num_samples=1_024), ScoreOptions(flag_only=True)
    assert [tuple(one) for one in measured] == [(scores, 32, 2.0), (flags, 32, 3.0)]
    assert [options for options, _ in batches] == [scores, scores, flags, flags]
    for _, rows in batches:
        np.testing.assert_array_equal(rows, [golden[i % num_golden] for i in range(32)])
