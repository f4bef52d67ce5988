"""Special functions against scipy."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import gammaln

from anomaly_vae.columns.special import log_gamma, sigmoid, softplus


def test_special_functions_agree_with_scipy():
    x = np.concatenate([np.geomspace(1e-8, 1e12, 400), [0.5, 1.0, 2.0, 9.999, 10.0]])
    np.testing.assert_allclose(log_gamma(x), gammaln(x), rtol=2e-13, atol=2e-13)
    y = np.linspace(-800, 800, 401)
    np.testing.assert_allclose(softplus(y), np.logaddexp(0.0, y), rtol=1e-15, atol=0)
    np.testing.assert_allclose(sigmoid(y), stats.logistic.cdf(y), rtol=1e-14, atol=1e-300)
