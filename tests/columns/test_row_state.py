"""Which cells of rows are new, which are missing, and what is said about that."""

from __future__ import annotations

import numpy as np

from anomaly_vae.columns.row_state import reasons_of, row_state
from anomaly_vae.columns.schema import Column, Schema

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="continuous"),
        Column(name="unit", kind="constant", value=7.0, other_share=0.1, novelty="lowest"),
        Column(name="town", kind="categorical", categories=("Oslo", "Rome"), other_share=0.1, novelty="density"),
    )
)
ROWS = np.array([[1.0, 7.0, 0.0], [1.0, 8.0, 1.0], [1.0, 7.0, -1.0], [np.nan, 7.0, np.nan], [np.nan, 8.0, np.nan]])


def test_the_state_of_rows():
    """A changed constant puts its row below all others, and a new town only counts. Both are something to judge."""
    state = row_state(SCHEMA, ROWS)
    np.testing.assert_array_equal(np.argwhere(state.novel), [[1, 1], [2, 2], [4, 1]])
    np.testing.assert_array_equal(state.ranks_lowest, [False, True, False, False, True])
    np.testing.assert_array_equal(state.missing, np.isnan(ROWS[:, [0, 2]]))
    np.testing.assert_array_equal(state.is_empty, [False, False, False, True, False])


def test_the_reasons_name_new_values_and_empty_rows():
    reasons = reasons_of(SCHEMA, row_state(SCHEMA, ROWS), ROWS)
    assert reasons[0] is None
    assert reasons[1] == "column 'unit' was always 7.0 in training, is 8.0"
    assert reasons[2] == "column 'town' holds a category that training never had"
    assert reasons[3] == "every cell is missing: there is nothing to judge"
    assert reasons[4] == reasons[1]
