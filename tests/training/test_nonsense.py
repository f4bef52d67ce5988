"""A model whose threshold flags nothing does not pass its gates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.columns.split import split_of
from anomaly_vae.errors import GateFailed
from anomaly_vae.training.gates import refuse_failed
from anomaly_vae.training.nonsense import flags_nonsense, nonsense_rows
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.models import ALL, rows_of, schema_of
from tests.support.training import QUICK_GAUSSIAN


def test_numbers_are_multiplied_and_categories_kept():
    rows = rows_of(5, *ALL)
    nonsense = nonsense_rows(schema_of(*ALL), rows, rows)
    factors = [1.0 if name in ("categorical", "bernoulli", "cyclic") else 1000.0 for name in ALL]
    np.testing.assert_allclose(nonsense, rows * factors)


def test_rows_within_the_range_of_training_are_left_out():
    """A thousand times a small value of a column that spans many orders of magnitude is a usual value."""
    schema = Schema(columns=(Column(name="a", kind="continuous"), Column(name="b", kind="constant", value=1.0)))
    rows = np.array([[0.0, 1.0], [np.nan, 1.0], [8.0, 1.0], [0.5, 1.0], [-2.0, np.nan]])
    train = np.array([[600.0, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(nonsense_rows(schema, train, rows), [[8000.0, 1.0], [-2000.0, np.nan]])


def test_columns_of_0_and_1_are_changed_only_without_other_numbers():
    """1,000 is new to them, which may flag the row by itself and would hide that no number can."""
    binary, number = Column(name="a", kind="binary"), Column(name="b", kind="integer", step=1.0)
    rows = np.array([[1.0, 3.0], [0.0, 4.0]])
    both = nonsense_rows(Schema(columns=(binary, number)), rows, rows)
    np.testing.assert_array_equal(both, [[1.0, 3000.0], [0.0, 4000.0]])
    np.testing.assert_array_equal(nonsense_rows(Schema(columns=(binary,)), rows[:, :1], rows[:, :1]), [[1000.0]])


TABLE = Schema(columns=(Column(name="a", kind="continuous"),))


@pytest.mark.parametrize("name", ["categorical", "cyclic"])
def test_a_table_of_text_or_of_angles_has_no_nonsense(name):
    schema = schema_of(name)
    rows = rows_of(5, name)
    assert len(nonsense_rows(schema, rows, rows)) == 0


def test_nonsense_of_images_is_noise_in_their_range():
    """Their values cannot leave the range: 1,000 times a byte is no byte."""
    shape = ImageShape(height=5, width=6)
    rows = np.random.default_rng(1).integers(0, 20, size=(200, 30)).astype(float)
    schema = plan_cells(shape, rows)
    noise = nonsense_rows(schema, rows, rows)
    assert noise.shape == (100, 30)
    assert (noise == np.round(noise)).all()
    assert noise.min() < 5.0
    assert noise.max() > 250.0
    binary = nonsense_rows(plan_cells(shape, (rows > 9).astype(float)), rows, rows)
    assert set(np.unique(binary)) == {0.0, 1.0}
    gate = flags_nonsense(np.arange(100) >= 6, schema)
    assert gate.detail.startswith("94 of 100 images of noise are flagged")


def test_numbers_stay_finite():
    schema = Schema(columns=(Column(name="a", kind="continuous"),))
    np.testing.assert_array_equal(nonsense_rows(schema, np.zeros((1, 1)), np.array([[1e299]])), [[1e300]])


def test_the_gate_needs_95_percent_flagged_and_says_what_it_found():
    assert flags_nonsense(np.arange(100) >= 5, TABLE).passed
    gate = flags_nonsense(np.arange(100) >= 6, TABLE)
    assert gate.passed is False
    assert gate.detail.startswith("94 of 100 held-out rows are flagged when their numbers are multiplied by 1,000")
    assert gate.detail.endswith("Look for extreme values, or use more rows")
    assert flags_nonsense(np.empty(0, bool), TABLE).passed is None


@pytest.mark.parametrize(("missed", "total", "passed"), [(1, 15, True), (2, 15, False), (1, 1, False), (1, 2, True)])
def test_of_few_rows_one_may_be_missed(missed, total, passed):
    assert flags_nonsense(np.arange(total) >= missed, TABLE).passed is passed


def test_a_sound_model_flags_nonsense(trained):
    gate = next(gate for gate in trained.bundle.manifest.training.gates if gate.name == "flags nonsense")
    assert gate.passed
    assert gate.detail.startswith("60 of 60 held-out rows")


def test_a_model_calibrated_on_nonsense_is_refused():
    """Half of the calibration rows are a million times too large, so the threshold lies among them."""
    rows = make_rows(300)
    split = split_of(300, seed=0)
    rows[split.calibration[::2], :4] *= 1e6
    bundle = train_model(rows, NAMES, replace(QUICK_GAUSSIAN, target_fpr=0.05)).bundle
    with pytest.raises(GateFailed, match=r"flags nonsense: 0 of 30 .*--force"):
        refuse_failed(bundle.manifest.training.gates)
