"""The standard normal log-density against scipy."""

import numpy as np
from scipy.stats import norm

from anomaly_vae.arrays import standard_normal_log_prob


def test_standard_normal_log_prob_is_scipys_sum_over_the_last_axis():
    z = np.random.default_rng(0).normal(size=(5, 7, 3))
    np.testing.assert_allclose(standard_normal_log_prob(z), norm.logpdf(z).sum(axis=-1), rtol=1e-13)
