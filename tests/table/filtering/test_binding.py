"""Filters and columns that do not fit are explained."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.filtering.binding import bind, kind_of
from anomaly_vae.table.filtering.parser import parse_filter

TYPES = {
    "i": pa.int64(), "x": pa.float32(), "s": pa.string(), "d": pa.dictionary(pa.int32(), pa.string()),
    "ok": pa.bool_(), "t": pa.timestamp("us"), "z": pa.timestamp("ms", "UTC"), "day": pa.date32(),
    "raw": pa.binary(), "cell": pa.string(),
}  # fmt: skip


def bound(text):
    return bind(parse_filter(text), TYPES, {"cell"}, "t.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none = 1", "t.csv has no column 'none'; it has 'i', 'x'"),
        ("i = '5'", r"column 'i' holds whole numbers \(int64\): .* text '5'; write the number without quotes"),
        ("s = 5", r"column 's' holds texts \(string\): .*a number; write the number in single quotes"),
        ("i = TRUE", "cannot be compared with TRUE"),
        ("ok < TRUE", "TRUE and FALSE have no order"),
        ("x LIKE '5%'", "LIKE is for texts"),
        ("t = 5", "write a time such as"),
        ("t = 'soon'", "'soon' is no time such as"),
        ("t = '2024-01-01T00:00+01:00'", "has a time zone, and the column has none"),
        ("raw = 'x'", "holds values that a filter can only test for IS NULL"),
    ],
)
def test_what_does_not_fit_is_explained(text, message):
    with pytest.raises(InvalidInput, match=f"--filter: .*{message}"):
        bound(text)


def test_times_become_nanoseconds():
    assert bound("t > '1970-01-02'").values == (Fraction(86_400 * 10**9),)
    assert bound("z = '1970-01-01T01:00:00.123456789+01:00'").values == (Fraction(123456789),)
    assert bound("day < '1969-12-31'").values == (Fraction(-86_400 * 10**9),)
    assert bound("cell = '1970-01-02'").values == ("1970-01-02",)


def test_everything_can_be_missing():
    for name in TYPES:
        bound(f"{name} IS NULL OR NOT {name} IS NOT NULL")
    assert kind_of(TYPES["d"], is_untyped=False) == "text"
