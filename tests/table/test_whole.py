"""A whole table at once: rows with a fault apart, or as missing ones."""

from __future__ import annotations

import numpy as np

from anomaly_vae.table.whole import read_whole
from tests.support.tables import csv_table

TEXT = "a,b\n1,x\n2\n3,y\n"


def test_rows_with_a_fault_are_apart():
    table = read_whole(csv_table(TEXT).source, ["b", "a"], keep=["b"])
    assert table.columns.to_pydict() == {"b": ["x", "y"], "a": ["1", "3"]}
    np.testing.assert_array_equal(table.rows, [0, 2])
    assert {row: fault.kind for row, fault in table.faults.items()} == {1: "ragged"}
    assert table.num_rows == table.kept.num_rows == 3


def test_rows_with_a_fault_can_stay_as_missing_ones():
    table = read_whole(csv_table(TEXT).source, ["a"])
    assert table.with_missing_rows().to_pydict() == {"a": ["1", None, "3"]}
    whole = read_whole(csv_table("a\n1\n").source, ["a"])
    assert whole.with_missing_rows() is whole.columns
