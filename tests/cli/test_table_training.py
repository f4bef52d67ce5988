"""Rows of a table that a label marks as anomalies, against the calibration rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anomaly_vae.bundle.files import with_calibration
from anomaly_vae.calibration import calibrate
from anomaly_vae.cli.table_training import quality_of
from anomaly_vae.cli.training_input import TrainingInput
from anomaly_vae.columns.training_table import TrainingTable
from tests.support.data import NAMES, make_rows


def given(anomalous):
    return TrainingInput(TrainingTable.of_numbers(make_rows(10), NAMES), anomalous)


def far(num_rows):
    rows = make_rows(num_rows, seed=1)
    rows[:, 1] += 1.0
    return rows


def test_rows_marked_as_anomalies_are_compared_with_the_calibration_rows(trained):
    assert quality_of(trained, given(far(0))) is None
    quality = quality_of(trained, given(far(30)))
    assert quality.auroc > 0.99
    strange = make_rows(30, seed=1)
    strange[:, 4] = 8.0  # a new value in a constant column ranks below all others
    assert quality_of(trained, given(strange)).auroc == 1.0
    assert 0.3 < quality_of(trained, given(make_rows(300, seed=1))).auroc < 0.7


def test_with_two_thresholds_the_quality_counts_both_sides(trained):
    """Rows at the mode of every column are more likely than the calibration rows: by the score they rank last."""
    rows = np.tile(np.median(make_rows(600), axis=0), (30, 1))
    rows[:, 2] = make_rows(30)[:, 2]
    known, none = trained.bundle.calibration, np.zeros(len(trained.bundle.calibration), bool)
    shifted, scores = calibrate(known - 50.0, none, 0.2, tail="both")
    both = replace(trained, bundle=with_calibration(trained.bundle, shifted, scores, ""))
    assert quality_of(both, given(rows)).auroc > 0.99
    one, scores = calibrate(known - 50.0, none, 0.2)
    assert quality_of(replace(both, bundle=with_calibration(both.bundle, one, scores, "")), given(rows)).auroc < 0.01
