"""open_table: a source with the markers of missing cells; files that cannot be opened are explained."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import ReadOptions, open_table
from tests.support.tables import read


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_missing_file_is_explained(tmp_path, name):
    with pytest.raises(InvalidInput, match=rf"{name}: no such file"):
        open_table(str(tmp_path / name))


def test_a_file_that_is_not_parquet_is_explained(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidInput, match=r"t\.parquet: damaged"):
        open_table(str(path))


def test_options_and_markers_hold_for_this_table(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1,5;-1\n")
    options = ReadOptions(separator=";", decimal=",")
    rows, faults, _ = read(open_table(str(tmp_path / "t.csv"), options, ["-1"]))
    np.testing.assert_array_equal(rows, [[1.5, np.nan]])
    assert faults == [None]
    pq.write_table(pa.table({"a": [1.5], "b": [-1]}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(read(open_table(str(tmp_path / "t.parquet"), options, ["-1"]))[0], rows)
