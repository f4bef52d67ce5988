"""Bounds from Parquet hold for the cells, whatever wrote them."""

from __future__ import annotations

import datetime
import decimal
import io
from fractions import Fraction

import polars
import pyarrow as pa
import pyarrow.parquet
import pytest

from anomaly_vae.table.filtering.pruning import Bounds
from anomaly_vae.table.filtering.statistics import bounds_of_group

DAY = 86_400 * 10**9


def bounds(column, name="c", table_type=None, **options):
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({name: column}), sink, **options)
    file = pyarrow.parquet.ParquetFile(sink)
    kind = file.schema_arrow.field(name).type
    return bounds_of_group(file.metadata.row_group(0), name, kind, table_type or kind)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([3, 1, 2]), Bounds(1, 3, may_miss=False)),
        (pa.array([2**64 - 1, 5], pa.uint64()), Bounds(5, 2**64 - 1, may_miss=False)),
        (pa.array([2**32 - 1, 5], pa.uint32()), Bounds(5, 2**32 - 1, may_miss=False)),
        (pa.array([1.5, None]), Bounds(1.5, 1.5)),
        (pa.array([1.5, float("nan")]), Bounds(1.5, 1.5)),
        (pa.array([float("nan")]), Bounds()),
        (pa.array([1.0, float("inf")]), Bounds()),
        (pa.array([None, None], pa.int32()), Bounds(may_have=False)),
        (pa.array([True, False]), Bounds(False, True, may_miss=False)),
        (pa.array(["b", "é", None]), Bounds("b", "é")),
        (pa.array(["b", "a"]).dictionary_encode(), Bounds("a", "b", may_miss=False)),
        (pa.array([datetime.date(1970, 1, 3)]), Bounds(2 * DAY, 2 * DAY, may_miss=False)),
        (pa.array([7], pa.timestamp("s")), Bounds(7 * 10**9, 7 * 10**9, may_miss=False)),
        (pa.array([7], pa.timestamp("ns", "UTC")), Bounds(7, 7, may_miss=False)),
        (pa.array([decimal.Decimal("1.5")]), Bounds(may_miss=False)),
    ],
)
def test_bounds_of_each_type(column, expected):
    assert bounds(column) == expected


def test_what_says_nothing():
    assert bounds(pa.array([1]), write_statistics=False) is None
    assert bounds(pa.array([{"x": 1}])) is None
    assert bounds(pa.array([1]), table_type=pa.string()) is None
    assert bounds(pa.array([7], pa.timestamp("ns")), use_deprecated_int96_timestamps=True, version="1.0") is None


def test_whole_numbers_that_become_floats_are_rounded_as_their_cells():
    """A cell of 2**53 + 1 is compared as 2**53 where other files have floats."""
    assert bounds(pa.array([2**53 + 1]), table_type=pa.float64()).low == Fraction(2**53)


def test_long_texts_are_within_their_bounds():
    texts = ["a" + "é" * 5000, "b" * 9000, "\U0010ffff" * 3000]
    sink = io.BytesIO()
    polars.DataFrame({"c": texts}).write_parquet(sink, statistics=True)
    file = pyarrow.parquet.ParquetFile(sink)
    kind = file.schema_arrow.field("c").type
    for found in (bounds(pa.array(texts)), bounds_of_group(file.metadata.row_group(0), "c", kind, kind)):
        if found is not None and found.low is not None:
            assert found.low <= min(texts)
            assert found.high >= max(texts)
