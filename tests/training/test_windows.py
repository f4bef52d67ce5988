"""Models of windows: of series that overlap, and of windows that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.series.tables import to_training_panel
from anomaly_vae.series.windows import all_windows
from anomaly_vae.training import row_source
from anomaly_vae.training.windows import PanelWindows, train_series, train_windows, window_length
from tests.support.series import machines
from tests.support.shaped import WINDOW, windows
from tests.support.training import QUICK_GAUSSIAN

CONFIG = replace(QUICK_GAUSSIAN, target_fpr=0.1, window=8, max_steps=60)


@pytest.fixture(scope="module")
def data():
    return to_training_panel(machines(), timestamp="ts", series="host")


@pytest.fixture(scope="module")
def model(data):
    return train_series(data, CONFIG)


def test_a_model_of_series_knows_its_windows(model, data):
    shape = model.bundle.manifest.schema.shape
    assert (shape.length, shape.channels, shape.step_seconds) == (8, ("cpu", "mem"), 60.0)
    assert (shape.timestamp, shape.series) == ("ts", "host")
    assert model.bundle.manifest.members[0].architecture.kind == "conv1d"
    assert Scorer(model.bundle).tail == "low"
    assert model.bundle.manifest.training.config["window"] == 8


def test_windows_that_overlap_count_as_fewer(model):
    counted, total = model.bundle.manifest.calibration.num_rows, len(model.split.calibration)
    assert 1 <= counted < total


def test_the_length_is_the_one_set_or_follows_from_the_period(data):
    assert window_length(data, CONFIG) == (8, None)
    found = window_length(data, replace(CONFIG, window="auto"))
    assert found.period == 24
    assert found.length <= 300 // 4


def test_series_that_are_too_large_for_memory_are_cut_into_windows_batch_by_batch(data, model, monkeypatch):
    monkeypatch.setattr(row_source, "MOST_BYTES", 1)
    streamed = train_series(data, CONFIG)
    for ours, theirs in zip(streamed.split.__dict__.values(), model.split.__dict__.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = windows(20).reshape(20, 8)
    rows = np.concatenate([rows, rows], axis=1)
    np.testing.assert_allclose(
        Scorer(streamed.bundle).score_rows(rows).log_px, Scorer(model.bundle).score_rows(rows).log_px, rtol=1e-5
    )


def test_a_panel_is_a_source_of_its_windows(data):
    segments = data.panel.segments(8)
    places = all_windows(segments, 8)
    source = PanelWindows(segments, places, 8)
    last = source.take(np.array([len(source) - 1]))[0].reshape(8, 2)
    segment = segments[places.segment[-1]].values
    np.testing.assert_array_equal(last, segment[places.end[-1] - 7 : places.end[-1] + 1])
    assert source.num_cells == 16


def test_independent_windows_all_count():
    model = train_windows(windows(150).reshape(150, -1), WINDOW, replace(CONFIG, window="auto"))
    assert model.bundle.manifest.calibration.num_rows == len(model.split.calibration) == 30
    assert model.bundle.manifest.schema.shape == WINDOW


def test_series_that_are_too_short_and_windows_that_are_too_large_are_refused(data):
    with pytest.raises(InvalidInput, match="windows of 200 steps need a series of at least"):
        train_series(data, replace(CONFIG, window=200))
    with pytest.raises(ConfigError, match="window is 9000 steps of 2 channels, 18,000 cells; expected at most 16,384"):
        train_series(data, replace(CONFIG, window=9000))
    with pytest.raises(ConfigError, match=r"\[columns\] cpu = 'categorical': channels of series are numbers"):
        train_series(data, replace(CONFIG, columns={"cpu": "categorical"}))


def test_the_kind_of_a_channel_can_be_set():
    frame = pd.DataFrame({"count": np.random.default_rng(0).poisson(3.0, size=400)})
    data = to_training_panel(frame)
    model = train_series(data, replace(CONFIG, columns={"count": "count"}))
    assert {column.kind for column in model.bundle.manifest.schema.columns} == {"count"}
