"""The dialect of a CSV file is found, whatever the dialect and the cells are."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.table.sources.delimited import DelimitedSource
from anomaly_vae.table.sources.dialect import decimal_mark, find_dialect, read_rows
from anomaly_vae.table.sources.encoding import TextStream
from anomaly_vae.table.sources.streams import ByteStream
from tests.support.sources import cells


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1;2\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("a\n1\n2\n", ","),
        ("a\n1,5\n2,5\n", ";"),
        ("a;b\n1,5;2,5\n3,1;4,7\n", ";"),
        ("Länge, mm;Breite, mm\n1,5;2,5\n3,1;4,7\n", ";"),
        ("id;note\n1;hello, world, and more\n2;x\n", ";"),
        ("id,note\n1,a;b\n2,c;d\n3,e;f\n", ","),
        ("id,x;y\n1,a;b\n2,c;d\n", ","),
        ('id,note\n1,"a;b;c\nd;e;f"\n2,"x,y"\n', ","),
        ("id\tnote\n1\ta, b, c\n2\td, e, f\n", "\t"),
        ("a,b,c\n" + "1,2,3\n" * 50 + "1,2\n1,2,3,4\n" + "4;5;6\n" * 3, ","),
        ("a;b;c\n" + "1;2;3\n" * 50 + "1;2\n" * 4, ";"),
        ("a,b\n1\n2\n3\n", ","),
        ("a;b\n", ";"),
        ("time,value\n12:30,1\n12:31,2\n", ","),
        ("", ","),
    ],
)
def test_the_separator(text, separator):
    assert find_dialect(text, is_whole=True).separator == separator


def test_the_last_row_of_a_text_that_was_cut_does_not_count():
    text = 'a;b\n1;"x;y"\n' + '1;"cut, cut, cut,'
    assert find_dialect(text, is_whole=False) == (";", '"')
    text = "a,x,q;b\np,q,r;4\np,q,r"
    assert find_dialect(text, is_whole=False).separator == ";"
    assert find_dialect(text, is_whole=True).separator == ","


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("a,b\n'x,y',1\n'z',2\n", "'"),
        ("'a','b'\n'it''s',1\n", "'"),
        ("a,b\n'x\ny',1\n", "'"),
        ("a,b\n'tis,1\n'twas,2\n", '"'),
        ("a,b\nrock 'n' roll,1\n", '"'),
        ("a,b\n\"'x'\",1\n'y',2\n", '"'),
        ("a,b\n1,2\n", '"'),
    ],
)
def test_the_quote(text, quote):
    assert find_dialect(text, is_whole=True).quote == quote


@pytest.mark.parametrize(
    ("values", "mark"),
    [
        (["3.14"], "."),
        (["3,14"], ","),
        (["1.234,50"], ","),
        (["1,234.50"], "."),
        (["1,234"], None),
        (["1.234"], None),
        (["0,123"], ","),
        (["0.123"], "."),
        (["1234,567"], ","),
        (["1,234", "2.5"], "."),
        (["1.234", "2,5"], ","),
        (["3.14", "3,14"], None),
        (["-1,5e-3"], ","),
        (["5."], "."),
        ([" 1,5 "], ","),
        (["12"], None),
        (["192.168.100.200", "31.12.2024", "a,b", "v1.2", ",", "."], None),
        ([], None),
    ],
)
def test_the_decimal_mark(values, mark):
    assert decimal_mark([values]) == mark


def test_rows_end_at_a_cell_that_is_too_long():
    dialect = find_dialect("a,b\n", is_whole=True)
    assert list(read_rows("a,b\n\n1,2\n" + "x" * 200_000, dialect)) == [["a", "b"], ["1", "2"]]


NAMES = st.lists(st.text("abcxyz_ ", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=2, max_size=5)
CELL = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], max_codepoint=0x10FEFF), max_size=8),
    st.sampled_from(["", "a b", "x;y", "p|q", "1,5", 'say "hi"', "two\nlines", "tab\there", "it's"]),
)


@settings(max_examples=200, deadline=None)
@given(
    names=NAMES,
    data=st.data(),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_table_of_any_dialect_is_read_back(names, data, separator, quoting, end, encoding):
    rows = data.draw(st.lists(st.lists(CELL, min_size=len(names), max_size=len(names)), max_size=12))
    assume(not any(any(mark in cell for mark in ("\r", "'")) for row in rows for cell in row))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerow(names)
    writer.writerows(rows)
    stream = TextStream(ByteStream(io.BytesIO(buffer.getvalue().encode(encoding)), "text", None))
    source = DelimitedSource(stream, ReadOptions())
    assert source.names == tuple(names)
    numbers = [str(place) for place in range(len(names))]
    source.names = tuple(numbers)
    source._header = numbers
    columns, faults = cells(source)
    assert [list(row) for row in zip(*columns.values(), strict=True)] == [
        [cell or None for cell in row] for row in rows
    ]
    assert not any(faults)
