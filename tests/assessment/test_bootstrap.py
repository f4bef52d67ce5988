"""Bootstrap intervals: reproducible, stratified, and as wide as theory says."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.assessment.bootstrap import bootstrap, estimates
from anomaly_vae.assessment.ranking import LevelCounts, auroc, count_levels, levels_of


def counts_of(normal, anomalous, seed=0):
    rng = np.random.default_rng(seed)
    keys = np.concatenate([rng.normal(size=normal), rng.normal(-1.5, size=anomalous)])[:, None]
    return count_levels(levels_of(keys), np.repeat([False, True], [normal, anomalous]))


def area(counts):
    return np.array([auroc(counts)])


def test_the_same_seed_gives_the_same_numbers():
    counts = counts_of(200, 30)
    first, again, other = (bootstrap(counts, area, 50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_each_class_keeps_its_number_of_rows():
    seen = bootstrap(counts_of(70, 9), lambda counts: np.array([counts.normal.sum(), counts.anomalous.sum()]), 20, 0)
    np.testing.assert_array_equal(seen, np.tile([70, 9], (20, 1)))


def test_the_width_is_that_of_the_closed_form():
    """The standard error of AUROC by DeLong et al. (1988), from the same rows."""
    rng = np.random.default_rng(3)
    normal, anomalous = rng.normal(size=400), rng.normal(-1.0, size=80)
    before = (anomalous[:, None] < normal[None]).astype(float)
    expected = np.sqrt(before.mean(axis=1).var(ddof=1) / 80 + before.mean(axis=0).var(ddof=1) / 400)
    labels = np.repeat([False, True], [400, 80])
    counts = count_levels(levels_of(np.concatenate([normal, anomalous])[:, None]), labels)
    resampled = bootstrap(counts, area, 1000, 0)
    assert resampled.std() == pytest.approx(expected, rel=0.1)
    (found,) = estimates(area(counts), resampled, 0.95)
    assert found.value == pytest.approx(before.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * expected, rel=0.1)


def test_every_draw_is_reported_once():
    done = []
    bootstrap(LevelCounts(np.array([1, 2]), np.array([1, 0])), area, 120, 0, done.append)
    assert done == [50, 50, 20]
