"""Samples of rows are taken and put together with their estimates."""

from __future__ import annotations

import numpy as np

from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.samples import Samples


def test_rows_are_taken_and_put():
    estimates = Estimates.empty(3)
    estimates.log_px[:] = [1.0, 2.0, 3.0]
    whole = Samples(np.arange(12.0).reshape(3, 2, 2), np.arange(6.0).reshape(3, 2), estimates)
    some = whole.take(np.array([2, 0]))
    np.testing.assert_array_equal(some.z[0], whole.z[2])
    np.testing.assert_array_equal(some.log_weights, whole.log_weights[[2, 0]])
    np.testing.assert_array_equal(some.estimates.log_px, [3.0, 1.0])
    whole.put(np.array([1, 2]), some)
    np.testing.assert_array_equal(whole.log_weights, [[0, 1], [4, 5], [0, 1]])
    np.testing.assert_array_equal(whole.estimates.log_px, [1.0, 3.0, 1.0])
    np.testing.assert_array_equal(whole.z[2], [[0, 1], [2, 3]])
