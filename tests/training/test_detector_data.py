"""VAEDetector on series, windows and images: one value for each row, and no NaN."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from anomaly_vae import VAEDetector
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.tables import to_panel
from anomaly_vae.training.detector_data import explanations_of_series
from tests.support.pictures import short_contrast
from tests.support.series import machines
from tests.support.shaped import images, windows

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration rows are too few", "ignore:release gate failed")
QUICK = {"max_steps": 40, "search": "off", "random_state": 0, "likelihood": "gaussian", "target_fpr": 0.1}


@pytest.fixture(scope="module")
def of_machines():
    return VAEDetector(**QUICK, window=8, series="host").fit(machines())


def test_each_row_of_series_has_the_score_of_its_window_and_the_first_rows_that_of_the_first_window(of_machines):
    new = machines(40, seed=1)
    scores = of_machines.score_samples(new)
    assert np.isfinite(scores).all()
    panel = to_panel(new, of_machines.scorer().schema.shape)
    found = score_panel(of_machines.scorer().score_rows, panel, 8)
    np.testing.assert_array_equal(scores[found.has_window], found.score[found.has_window])
    for series in panel.series:
        assert len(set(scores[series.rows[:8]])) == 1
    assert of_machines.feature_names_in_.tolist() == ["ts", "host", "cpu", "mem"]
    assert of_machines.n_features_in_ == 4


def test_flags_of_rows_are_those_of_their_windows(of_machines):
    new = machines(40, seed=1)
    new.loc[new.host == "a", "cpu"] += 30.0
    flags = of_machines.predict(new)
    assert (flags[new.host == "a"] == -1).all()
    np.testing.assert_array_equal(of_machines.decision_function(new) < 0.0, flags == -1)


def test_a_series_without_a_window_is_not_flagged_and_data_without_any_are_refused(of_machines):
    new = machines(40, seed=1)
    few = pd.concat([new, new[new.host == "a"].head(5).assign(host="d")], ignore_index=True)
    assert of_machines.score_samples(few)[-5:].tolist() == [of_machines.offset_] * 5
    assert of_machines.predict(few)[-5:].tolist() == [1] * 5
    with pytest.raises(InvalidInput, match="no row can be scored with windows of 8 steps: row 0: warm-up"):
        of_machines.score_samples(new[new.host == "a"].sort_values("ts").head(5))


def test_arrays_of_steps_are_series():
    steps = np.sin(np.arange(400) / 4.0) + 0.05 * np.random.default_rng(0).normal(size=400)
    detector = VAEDetector(**QUICK, architecture="conv1d", window=8).fit(steps)
    assert detector.n_features_in_ == 1
    assert detector.score_samples(steps[:50]).shape == (50,)
    assert detector.score_samples(steps[:50, None]).tolist() == detector.score_samples(steps[:50]).tolist()
    assert np.isfinite(detector.score(steps))


def test_arrays_with_three_axes_are_windows_if_there_is_a_window():
    detector = VAEDetector(**QUICK, window="auto").fit(windows(150))
    assert detector.n_features_in_ == 8
    assert detector.scorer().schema.kind == "series"
    assert detector.score_samples(windows(20, seed=1)).shape == (20,)
    with pytest.raises(InvalidInput, match="X has windows of 4 steps, window=5"):
        VAEDetector(**QUICK, window=5).fit(windows(150))


def large(n, seed=0):
    """Images whose sizes are no usual numbers of channels."""
    return images(n, seed).repeat(2, axis=1).repeat(2, axis=2)


def test_arrays_with_three_axes_or_more_are_images_otherwise():
    with short_contrast():
        detector = VAEDetector(**QUICK).fit(large(150))
    assert detector.n_features_in_ == 48
    assert detector.scorer().schema.kind == "image"
    new = large(20, seed=1)
    scores = detector.score_samples(new)
    assert scores.tolist() == detector.score_samples(new[..., 0]).tolist()
    assert scores.tolist() == detector.score_samples(np.moveaxis(new, 3, 1)).tolist()
    assert set(detector.predict(new)) <= {-1, 1}
    with pytest.raises(ConfigError, match="window is for time series, and X has 4 axes, as images have"):
        VAEDetector(**QUICK, window=3).fit(images(150))


def test_convolutions_are_not_for_tables():
    with pytest.raises(ConfigError, match="architecture 'conv2d' is for images, and the data are rows of a table"):
        VAEDetector(**QUICK, architecture="conv2d").fit(np.zeros((50, 3)))
    with pytest.raises(ConfigError, match="residual and dropout are for convolutions"):
        VAEDetector(**QUICK, residual=True).fit(np.zeros((50, 3)))


def test_independent_windows_that_start_and_end_at_zero_are_learned():
    tapered = np.random.default_rng(0).normal(size=(150, 8, 1)) * np.hanning(8)[None, :, None]
    schema = VAEDetector(**QUICK | {"max_steps": 2}, window=8).fit(tapered).scorer().schema
    assert {column.kind for column in schema.columns} == {"continuous"}
    assert schema.shape.stride == 8


def test_bytes_have_the_head_of_pixels_as_on_the_command_line():
    pictures = np.random.default_rng(0).integers(0, 256, size=(60, 6, 7), dtype=np.uint8)
    options = {name: value for name, value in QUICK.items() if name != "likelihood"} | {"max_steps": 2}
    (member,) = VAEDetector(**options, contrast="off").fit(pictures).bundle_.manifest.members
    assert {type(column.head).__name__ for column in member.columns} == {"PixelHead"}


class NamedWindows:
    """Explains a window by its last cell."""

    def __init__(self, scorer):
        self.schema = scorer.schema

    def explain_rows(self, rows, *, top):
        return [[float(value)] * top for value in rows[:, -1]]


def test_each_row_of_series_is_explained_by_the_window_that_it_has_its_score_of(of_machines):
    """The last cell of a window is the last channel at the step where it ends."""
    new = machines(40, seed=1)
    few = pd.concat([new, new[new.host == "a"].head(5).assign(host="d")], ignore_index=True)
    scorer = of_machines.scorer()
    panel = to_panel(few, scorer.schema.shape)
    found = explanations_of_series(NamedWindows(scorer), panel, 2)
    has_window = score_panel(scorer.score_rows, panel, 8).has_window
    last = panel.values[:, -1]
    assert [each for each, is_end in zip(found, has_window, strict=True) if is_end] == [
        [value] * 2 for value in last[has_window]
    ]
    assert found[-5:] == [[]] * 5
    for series in panel.series[:3]:
        assert found[series.rows[0]] == found[series.rows[7]]


def test_a_detector_explains_as_its_scorer_does(of_machines):
    new = machines(12, seed=1)
    new = new[new.host == "a"]
    panel = to_panel(new, of_machines.scorer().schema.shape)
    found = of_machines.explain(new, top=1)
    assert found == explanations_of_series(of_machines.scorer(), panel, 1)
    assert all(found)
