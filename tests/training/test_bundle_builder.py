"""Calibration of rows that depend on each other; the rest of the builder is tested with the pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.columns.split import Split
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_rows

SHAPE = SeriesShape(length=6, channels=("a",))


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 1)) + 0.3 * rng.normal(size=(300, 6))


def trained(rows, thin=None, target_fpr=0.1):
    split = Split(train=np.arange(200), held_out=np.arange(200, 220), calibration=np.arange(220, len(rows)))
    schema = plan_cells(SHAPE, rows[:220])
    config = TrainConfig(random_state=0, max_steps=40, search="off", target_fpr=target_fpr, window=6)
    return train_rows(rows, schema, split, config, thin=thin).bundle


def test_only_the_chosen_rows_calibrate(rows):
    """Of 80 rows, the lowest of each 4 count: 20 scores, and p-values from 1/21 on."""
    bundle = trained(rows, lambda scores: np.argsort(scores, kind="stable")[::4])
    record = bundle.manifest.calibration
    assert (record.num_rows, record.rank, record.effective_fpr) == (20, 2, 2 / 21)
    every = trained(rows)
    assert every.manifest.calibration.num_rows == 80
    assert set(bundle.calibration[2:]) <= set(every.calibration)
    gates = {gate.name: gate.passed for gate in bundle.manifest.training.gates}
    assert gates["false positives"] is None


def test_a_new_value_among_few_independent_rows_does_not_take_the_threshold(rows):
    """A channel of 0 and 1 with a 2 in calibration: of 10 rows that count, it would be the only one flagged."""
    shape = SeriesShape(length=6, channels=("a", "switch"))
    cells = np.stack([rows, (rows > 0.0).astype(float)], axis=2).reshape(300, 12)
    cells[250, 3] = 2.0
    split = Split(train=np.arange(200), held_out=np.arange(200, 220), calibration=np.arange(220, 300))
    config = TrainConfig(random_state=0, max_steps=40, search="off", target_fpr=0.1, window=6)
    with pytest.warns(UserWarning, match="1 of 80 calibration rows have values that training never had"):
        bundle = train_rows(
            cells,
            plan_cells(shape, cells[:220]),
            split,
            config,
            thin=lambda scores: np.argsort(scores, kind="stable")[::8],
        ).bundle
    assert (bundle.manifest.calibration.num_rows, bundle.manifest.calibration.num_novel) == (10, 0)
    Scorer(bundle)  # and the bundle can be read


def test_the_threshold_is_not_above_the_quantile_of_training_rows(rows):
    """Calibration rows without any noise: their scores are above those of nearly all training rows."""
    calm = rows.copy()
    calm[220:] = 0.0
    bundle = trained(calm, lambda scores: np.argsort(scores, kind="stable"))
    scorer = Scorer(bundle)
    flagged = scorer.score(calm[:200]).is_anomaly.mean()
    assert 0.0 < flagged <= 0.12
    own = Scorer(trained(calm)).score(calm[:200]).is_anomaly.mean()
    assert own > 0.5  # rows that do not depend on each other calibrate alone
