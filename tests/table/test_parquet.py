"""Parquet: types come from the schema."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import open_table
from tests.support.tables import read


def test_parquet_types_are_judged_by_the_schema(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        "i": pa.array([1, None, 3], pa.int64()),
        "b": pa.array([True, False, True]),
        "d": pa.array([1, 2, 3]).cast(pa.decimal128(21, 2)),
        "f": pa.array([0.5, 1.5, float("inf")], pa.float32()),
        "s": pa.array(["x", "y", "z"]),
    }
    pq.write_table(pa.table(columns), path)
    rows, faults, kept = read(open_table(str(path)), ["f", "i", "b", "d"], keep=["s", "i"])
    np.testing.assert_array_equal(rows, [[0.5, 1, 1, 1], [1.5, np.nan, 0, 2], [np.inf, 3, 1, 3]])
    assert faults == [None, None, ("unreadable", "column 'f' is infinite")]
    assert kept.to_pydict() == {"s": ["x", "y", "z"], "i": [1, None, 3]}
    with pytest.raises(InvalidInput, match="column 's' holds string, expected numbers"):
        read(open_table(str(path)), ["s"])
