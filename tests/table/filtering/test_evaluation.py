"""The truth of filters, beside a naive evaluator in Python."""

from __future__ import annotations

import datetime
import operator
import re
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.table.filtering.binding import bind
from anomaly_vae.table.filtering.evaluation import truth_of
from anomaly_vae.table.filtering.parser import parse_filter
from anomaly_vae.table.filtering.tree import And, Check, Not, Or

_MARKS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def naive(node, row):
    """The truth of one row by the rules of SQL, one by one."""
    if isinstance(node, Not):
        found = naive(node.part, row)
        return None if found is None else not found
    if isinstance(node, (And, Or)):
        found, absorbing = [naive(part, row) for part in node.parts], isinstance(node, Or)
        return absorbing if absorbing in found else None if None in found else not absorbing
    cell = row[node.name]
    if isinstance(cell, float) and cell != cell:
        cell = None
    if node.operator == "null":
        return cell is None
    if cell is None:
        return None
    if node.operator == "like":
        pattern = "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in node.values[0])
        return re.fullmatch(pattern, cell, re.DOTALL) is not None
    if node.operator == "in":
        return any(cell == value for value in node.values)
    return _MARKS[node.operator](cell, node.values[0])


NUMBERS = st.sampled_from([Fraction(n, 2) for n in range(-5, 6)] + [Fraction(10**30), Fraction(2**53 + 1)])
WORDS = st.text("ab%_\\é", max_size=3)
MARKS = st.sampled_from(list(_MARKS))
TESTS = st.one_of(
    st.builds(lambda name, mark, value: Check(name, mark, (value,)), st.sampled_from("ix"), MARKS, NUMBERS),
    st.builds(lambda mark, value: Check("s", mark, (value,)), MARKS, WORDS),
    st.builds(lambda value: Check("s", "like", (value,)), WORDS),
    st.builds(lambda values: Check("i", "in", tuple(values)), st.lists(NUMBERS, min_size=1, max_size=3)),
    st.builds(lambda name: Check(name, "null", ()), st.sampled_from("ixsb")),
    st.just(Check("b", "=", (True,))),
)
FILTERS = st.recursive(
    TESTS,
    lambda part: st.one_of(
        st.builds(Not, part),
        st.builds(lambda parts: And(tuple(parts)), st.lists(part, min_size=2, max_size=3)),
        st.builds(lambda parts: Or(tuple(parts)), st.lists(part, min_size=2, max_size=3)),
    ),
    max_leaves=5,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1]),
            "x": st.none() | st.sampled_from([-2.5, 0.0, 0.5, 2.0, float("nan"), float("inf")]),
            "s": st.none() | WORDS,
            "b": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=8,
)
SCHEMA = pa.schema({"i": pa.int64(), "x": pa.float64(), "s": pa.string(), "b": pa.bool_()})


def columns_of(rows):
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    return {name: batch.column(name) for name in SCHEMA.names}


@settings(deadline=None)
@given(FILTERS, ROWS)
def test_every_filter_has_the_truth_of_sql(node, rows):
    assert truth_of(node, columns_of(rows)).to_pylist() == [naive(node, row) for row in rows]


def truth(text, column, *, untyped=False, decimal="."):
    names = frozenset({"c"} if untyped else ())
    node = bind(parse_filter(text), {"c": column.type}, names, "t")
    return truth_of(node, {"c": column}, names, decimal).to_pylist()


def test_texts_without_a_type_are_read_as_the_value_is():
    cells = pa.array(["10", " 9.5 ", "x", None, "+1e1", "1,5", "NaN", ""])
    assert truth("c >= 10", cells, untyped=True) == [True, False, None, None, True, None, None, None]
    assert truth("c < 10", cells, untyped=True, decimal=",") == [False, None, None, None, False, True, None, None]
    assert truth("c = '10'", cells, untyped=True)[:4] == [True, False, False, None]
    assert truth("c", pa.array(["True", "false", "yes", None]), untyped=True) == [True, False, None, None]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (pa.timestamp("us"), "c = '2024-01-31'", [True, False, None]),
        (pa.timestamp("ns"), "c > '2024-01-31 00:00:00.5'", [False, True, None]),
        (pa.timestamp("s", "Europe/Berlin"), "c <= '2024-01-31T01:00:00+01:00'", [True, False, None]),
        (pa.date32(), "c < '2024-01-31 12:00'", [True, False, None]),
        (pa.date64(), "c BETWEEN '2024-02-01' AND '2024-02-01'", [False, True, None]),
    ],
)
def test_times(kind, text, expected):
    days = pa.array([datetime.date(2024, 1, 31), datetime.date(2024, 2, 1), None])
    assert truth(text, days.cast(pa.timestamp("ns")).cast(kind) if kind.id != pa.date32().id else days) == expected


def test_rare_types():
    assert truth("c = 300 OR c < -1", pa.array([200, None], pa.uint8())) == [False, None]
    assert truth("c >= 18446744073709551615", pa.array([2**64 - 1, 0], pa.uint64())) == [True, False]
    assert truth("c = 0.1", pa.array(["0.1", "0.2"]).cast(pa.decimal128(5, 2))) == [True, False]
    assert truth("c = 'a'", pa.array(["a", None]).dictionary_encode()) == [True, None]
    assert truth("c IS NULL", pa.array([1.5, float("nan")], pa.float16())) == [False, True]
