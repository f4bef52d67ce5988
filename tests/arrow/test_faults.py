"""Faults of infinite cells."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrow.faults import Fault, faults_of


def test_the_first_infinite_cell_of_a_row_is_its_fault():
    """A missing cell (NaN) is no fault: the model has a mask for it."""
    inf = np.inf
    rows = np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, -inf], [inf, inf], [np.nan, inf]])
    a, b = (Fault("unreadable", f"column {name!r} is infinite") for name in ("a", "b"))
    assert faults_of(rows, ["a", "b"]) == [None, None, b, a, b]
    assert faults_of(rows[:0], ["a", "b"]) == []
