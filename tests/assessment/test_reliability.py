"""Errors of estimates, and close decisions."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.assessment.reliability import reliability
from tests.support.assessed import judged_of

NAN = float("nan")


def test_errors_and_close_decisions_are_counted():
    judged = judged_of(
        [0.01, 0.5, 0.5, 0.01, 0.5, 0.01],
        score=[-0.2, 0.3, 5.0, -9.0, 0.1, -0.1],
        std_error=[0.1, 0.1, NAN, NAN, 0.1, 0.1],
        reliable=[True, True, False, False, True, True],
        lowest=[False, False, False, False, False, True],
    )
    found = reliability(judged, np.ones(6, dtype=bool))
    assert (found.rows, found.reliable, found.unknown) == (6, 4, 2)
    assert found.close == 2  # the first and the fifth row: the last one ranks lowest whatever its score
    assert found.median == found.largest == 0.1


def test_only_the_chosen_rows_count():
    judged = judged_of([0.5, 0.5, 0.5], std_error=[0.1, 0.2, 0.4])
    found = reliability(judged, np.array([True, True, False]))
    assert (found.rows, found.median, found.largest) == (2, pytest.approx(0.15), 0.2)
    nothing = reliability(judged, np.zeros(3, dtype=bool))
    assert (nothing.rows, nothing.median, nothing.largest, nothing.close) == (0, None, None, 0)
