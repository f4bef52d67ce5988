"""Agreement of flags and orders, against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from anomaly_vae.assessment.agreement import agreement, spearman


def test_flags_are_counted_and_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    a = rng.random(500) < 0.1
    b = a ^ (rng.random(500) < 0.05)
    found = agreement(a, b, 0.95)
    assert (found.both, found.only_a, found.only_b, found.neither) == (
        (a & b).sum(),
        (a & ~b).sum(),
        (b & ~a).sum(),
        (~a & ~b).sum(),
    )
    assert found.changed.share == pytest.approx((a != b).mean())
    assert found.kappa == pytest.approx(cohen_kappa_score(a, b))


def test_kappa_is_not_defined_without_two_decisions():
    nothing = np.zeros(5, dtype=bool)
    assert agreement(nothing, nothing, 0.95).kappa is None
    assert agreement(nothing, ~nothing, 0.95).kappa == 0.0
    with pytest.raises(ValueError, match="no rows"):
        agreement(nothing[:0], nothing[:0], 0.95)


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(1)
    a = np.round(rng.normal(size=200), 1)
    b = np.round(a + rng.normal(size=200), 1)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(a, np.zeros(200)) is None
    assert spearman(a, -np.exp(a)) == pytest.approx(-1.0)
