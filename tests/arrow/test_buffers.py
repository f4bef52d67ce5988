"""numpy arrays as Arrow columns."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrow.buffers import scatter


def test_values_are_scattered_to_selected_rows_and_nan_becomes_null():
    place = np.array([True, False, True, True])
    assert scatter(np.array([1.5, np.nan, 3.0]), place).to_pylist() == [1.5, None, None, 3.0]
    assert scatter(np.array([True, False, True]), place).to_pylist() == [True, None, False, True]
