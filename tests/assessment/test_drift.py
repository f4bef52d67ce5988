"""The verdict of all parts together."""

import math

import numpy as np
from scipy import stats

from anomaly_vae.assessment.drift import DriftWatch
from anomaly_vae.assessment.shifts import NewRows
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.statistics import statistics_of

SCHEMA = Schema(columns=(Column(name="a", kind="continuous"), Column(name="b", kind="continuous")))


def score(rows):
    return -0.5 * (rows**2).sum(axis=1)


def drift(calibration, new, alpha=0.01, *, columns=True, **options):
    counts = NewRows(SCHEMA, statistics_of(SCHEMA, calibration)) if columns else None
    watch = DriftWatch(np.sort(score(calibration)), 0, alpha=alpha, columns=counts, **options)
    for part in np.array_split(new, 4):
        watch.add(score(part), part)
    return watch.result()


def test_a_false_verdict_is_as_rare_as_promised():
    rng = np.random.default_rng(1)
    alarms = sum(drift(rng.normal(size=(80, 2)), rng.normal(size=(200, 2)), 0.05).drifted for _ in range(150))
    assert stats.binom.sf(alarms - 1, 150, 0.05) > 0.005


def test_a_change_that_no_score_shows_is_found_in_its_column():
    """Less spread makes scores higher in one column; here the other one makes up for it."""
    rng = np.random.default_rng(2)
    new = rng.normal(size=(1500, 2))
    new[:, 0] = np.abs(new[:, 0])
    found = drift(rng.normal(size=(1500, 2)), new)
    assert found.drifted
    assert (found.columns[0].column, found.columns[0].changed, found.columns[1].changed) == ("a", True, False)
    assert found.scores.log_p_value + math.log(found.num_parts) > math.log(found.alpha)


def test_a_relation_that_no_column_shows_is_found_in_the_scores():
    """Each column is as before, but they are large together: log p of independent columns notices that."""
    rng = np.random.default_rng(3)
    new = np.repeat(rng.normal(size=(1500, 1)), 2, axis=1)
    found = drift(rng.normal(size=(1500, 2)), new)
    assert found.drifted
    assert not any(each.changed for each in found.columns)
    assert found.order.first_row is not None


def test_the_p_value_is_the_smallest_one_times_the_number_of_parts():
    rng = np.random.default_rng(4)
    found = drift(rng.normal(size=(100, 2)), 1.3 * rng.normal(size=(100, 2)))
    parts = [found.scores.log_p_value, found.order.log_p_value, found.columns[0].log_p_adjusted]
    assert (found.num_parts, found.num_rows, found.num_calibration) == (3, 100, 100)
    assert found.log_p_value == min(min(parts) + math.log(3), 0.0)
    assert found.drifted == (found.log_p_value <= math.log(0.01))
    assert found.reference == "calibration rows"


def test_without_columns_and_with_samples_only_scores_count():
    rng = np.random.default_rng(5)
    calibration, new = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    plain, sampled = drift(calibration, new, columns=False), drift(calibration, new, has_counts=False)
    assert (plain.num_parts, plain.reference, plain.columns) == (2, None, ())
    assert (sampled.num_parts, sampled.reference) == (2, "samples of the model")
    assert sampled.log_p_value == plain.log_p_value


def test_a_contrast_is_a_part_of_its_own():
    rng = np.random.default_rng(6)
    contrast = np.sort(rng.normal(size=300))
    watch = DriftWatch(np.sort(rng.normal(size=300)), 0, contrast=contrast)
    watch.add(rng.normal(size=200), contrast=rng.normal(size=200) - 1.0)
    found = watch.result()
    assert found.num_parts == 3
    assert found.drifted
    assert found.contrast.log_p_value < -10 < found.scores.log_p_value
