"""Rows of Arrow columns become numbers, and the first fault of each row is kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.arrow.faults import Fault
from anomaly_vae.arrow.rows import read_rows
from anomaly_vae.errors import InvalidInput
from tests.support.tables import reader_of


def test_a_row_keeps_its_first_fault():
    """A fault of the file comes before that of a cell, a cell that cannot be read before one that is infinite."""
    columns = pa.RecordBatch.from_pydict({"b": ["x", "1", "y", "x", "5"], "a": [1.0, np.inf, 2.0, np.inf, None]})
    ragged = Fault("ragged", "too short")
    rows, faults = read_rows(reader_of("a", "b"), columns, [ragged, None, None, None, None])
    assert [fault and fault.text for fault in faults] == [
        "too short",
        "column 'a' is infinite",
        "column 'b': 'y' is not a number",
        "column 'b': 'x' is not a number",
        None,
    ]
    np.testing.assert_array_equal(rows[4], [np.nan, 5.0])


def test_of_two_cells_the_first_column_of_the_reader_is_named():
    columns = pa.RecordBatch.from_pydict({"b": ["x"], "a": ["y"]})
    _, faults = read_rows(reader_of("a", "b"), columns)
    assert [fault.text for fault in faults] == ["column 'a': 'y' is not a number"]


def test_a_column_of_another_type_refuses_all_rows():
    with pytest.raises(InvalidInput, match="column 'a' holds list"):
        read_rows(reader_of("a"), pa.RecordBatch.from_pydict({"a": [[1.0]]}))
