"""The linear model of the release gate has the likelihood of scikit-learn's factor analysis."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

from anomaly_vae.training.factor_analysis import factor_analysis, gaussian_log_prob_full


def test_the_likelihood_equals_that_of_scikit_learn():
    """Both find the maximum likelihood; this function needs the covariance only, not the rows."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 9)) + rng.normal(size=(2000, 9)) * rng.uniform(
        0.2, 1, size=9
    )
    theirs = FactorAnalysis(3, tol=1e-8, max_iter=5000, svd_method="lapack").fit(rows)
    residual = rows - rows.mean(axis=0)
    ours = factor_analysis(np.cov(rows, rowvar=False, bias=True), 3, np.full(9, 1e-3))
    our_score = gaussian_log_prob_full(residual, ours).mean()
    assert our_score == pytest.approx(theirs.score(rows), abs=1e-3)
    np.testing.assert_allclose(np.diag(ours), rows.var(axis=0), rtol=1e-6)


def test_the_floors_hold_for_columns_that_determine_each_other():
    """Without floors the likelihood of such columns has no upper bound, so no model could pass the gate."""
    t = np.random.default_rng(0).normal(size=500)
    covariance = np.cov(np.column_stack([t, t, -2.0 * t]), rowvar=False, bias=True)
    fitted = factor_analysis(covariance, 1, np.full(3, 0.05))
    assert np.linalg.eigvalsh(fitted).min() >= 0.05**2 * (1 - 1e-9)


def test_the_density_equals_that_of_scipy():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(4, 4))
    covariance, rows = root @ root.T + np.eye(4), rng.normal(size=(20, 4))
    expected = multivariate_normal(np.zeros(4), covariance).logpdf(rows)
    np.testing.assert_allclose(gaussian_log_prob_full(rows, covariance), expected, rtol=1e-10)
