"""Values that training never had, found for all columns at once as for each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.columns.novel_values import NovelValues

# Near and at the limits of what is new in each column.
CELLS = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, 0.5, 0.1, float(np.float32(0.1)), 0.1 + 1e-14, 1e39, -0.0, np.nan])


def is_novel(kind, known, value):
    """The definition, cell by cell."""
    if np.isnan(value):
        return False
    if kind == "constant":
        with np.errstate(over="ignore"):
            same = np.float32(value) == np.float32(known) and np.isfinite(np.float32(known))
        return not same and abs(value - known) > 1e-12 * abs(known)
    if kind == "text":
        return value not in range(known)
    return value not in (0.0, 1.0) if kind == "binary" else value < 0.0 or value != int(value)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("constant"), CELLS.filter(lambda value: not np.isnan(value))),
            st.tuples(st.just("text"), st.integers(1, 3)),
            st.tuples(st.sampled_from(["binary", "count", "number"]), st.none()),
        ),
        min_size=1,
        max_size=8,
    ),
    st.data(),
)
def test_all_columns_at_once_are_as_each_cell_alone(columns, data):
    rows = np.array(data.draw(st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns)), max_size=5)))
    rows = rows.reshape(-1, len(columns))
    chosen = {kind: [d for d, (own, _) in enumerate(columns) if own == kind] for kind in ("binary", "count")}
    novel = NovelValues(
        {d: known for d, (kind, known) in enumerate(columns) if kind == "constant"},
        {d: known for d, (kind, known) in enumerate(columns) if kind == "text"},
        chosen["binary"],
        chosen["count"],
    )
    expected = [
        [kind != "number" and is_novel(kind, known, value) for (kind, known), value in zip(columns, row, strict=True)]
        for row in rows
    ]
    np.testing.assert_array_equal(novel.cells(rows), np.array(expected, dtype=bool).reshape(rows.shape))


@pytest.mark.parametrize(("value", "new"), [(0.1, False), (np.float32(0.1), False), (0.1 + 1e-7, True), (np.inf, True)])
def test_a_constant_is_compared_in_the_precision_of_float32(value, new):
    novel = NovelValues({1: 0.1}, {}, [], [])
    assert novel.cells(np.array([[0.0, float(value)]])).tolist() == [[False, new]]
