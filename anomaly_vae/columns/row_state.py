"""What is known of rows before they are scored: which of their cells are new, and which are missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Schema

__all__ = ["NOTHING_TO_JUDGE", "RowState", "reasons_of", "row_state"]

# The reason of a row with nothing to judge.
NOTHING_TO_JUDGE = "every cell is missing: there is nothing to judge"


class RowState(NamedTuple):
    """The state of the cells of N rows with D columns, M of them modelled.

    Attributes:
        novel: Cells with a value that training never had: a changed constant, an unseen category; shape (N, D).
        missing: Modelled cells that are missing, shape (N, M).
        ranks_lowest: Rows that rank below all others because of a novel cell, shape (N,).
        is_empty: Rows with nothing to judge, shape (N,).
    """

    novel: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    ranks_lowest: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]


def row_state(schema: Schema, rows: FloatArray) -> RowState:
    """Return the state of rows (N, D)."""
    novel, missing = schema.novel_cells(rows), np.isnan(rows)[:, schema.modelled]
    return RowState(
        novel=novel,
        missing=missing,
        ranks_lowest=np.asarray(schema.lowest_cells(novel).any(axis=1)),
        is_empty=np.asarray(missing.all(axis=1) & ~schema.other_cells(rows, novel).any(axis=1)),
    )


def reasons_of(schema: Schema, state: RowState, rows: FloatArray) -> list[str | None]:
    """Return for each row a text about its new values, or that it has none at all; None for other rows."""
    reasons = schema.describe(state.novel, rows)
    for i in np.flatnonzero(state.is_empty):
        reasons[i] = NOTHING_TO_JUDGE
    return reasons
