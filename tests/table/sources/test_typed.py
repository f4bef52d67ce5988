"""Columns are picked by name, without extension types."""

from __future__ import annotations

import pyarrow as pa
import pytest

from anomaly_vae.table.sources.typed import common_type, pick, plain_type


def test_extension_types_are_unwrapped():
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    batch = pa.RecordBatch.from_arrays([column, pa.array([1])], names=["u", "x"])
    assert plain_type(column.type) == pa.binary(16)
    assert plain_type(pa.int8()) == pa.int8()
    assert pick(batch, ["x", "u"]).to_pydict() == {"x": [1], "u": [b"0123456789abcdef"]}


def test_of_equal_names_the_first_counts():
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert pick(batch, ["x"]).to_pydict() == {"x": [1]}


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (pa.int8(), pa.int8(), pa.int8()),
        (pa.int8(), pa.uint32(), pa.int64()),
        (pa.int8(), pa.uint64(), pa.float64()),
        (pa.int8(), pa.float32(), pa.float64()),
        (pa.bool_(), pa.int8(), pa.float64()),
        (pa.decimal128(5, 2), pa.int8(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (pa.string_view(), pa.large_string(), pa.large_string()),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("s", "UTC"), pa.timestamp("us"), None),
        (pa.string(), pa.int8(), None),
        (pa.list_(pa.int8()), pa.int8(), None),
        (pa.dictionary(pa.int8(), pa.int8()), pa.string(), None),
    ],
)
def test_the_type_for_the_values_of_two_files(first, second, common):
    assert common_type(first, second) == common
    assert common_type(second, first) == common
