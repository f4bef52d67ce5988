"""CSV: every row is read once, in place, and what is wrong with a row is said."""

from __future__ import annotations

import io
import time
import weakref

import pytest

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources import delimited
from anomaly_vae.table.sources.delimited import DelimitedSource
from anomaly_vae.table.sources.encoding import TextStream
from anomaly_vae.table.sources.streams import ByteStream
from tests.support.sources import cells, open_bytes, read_bytes


def source_of(data, size=None, **options):
    data = data.encode() if isinstance(data, str) else data
    return DelimitedSource(TextStream(ByteStream(io.BytesIO(data), "text", size)), ReadOptions(**options))


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,4.5\n",
        "a,b\n1,2\n3,4.5",
        "a,b\r\n1,2\r\n3,4.5\r\n",
        "a,b\r1,2\r3,4.5\r",
        "\ufeffa,b\n1,2\n3,4.5\n",
        '"a","b"\n"1","2"\n"3","4.5"\n',
        "a, b\n1,2\n3,4.5\n",
        "\n\na,b\n\n1,2\n\n\n3,4.5\n\n",
        "a,b,\n1,2,\n3,4.5,\n",
    ],
)
def test_the_ways_to_write_a_csv(text):
    source = source_of(text)
    assert source.names == ("a", "b")
    assert source.notes == ()
    assert cells(source) == ({"a": ["1", "3"], "b": ["2", "4.5"]}, [None, None])


def test_cells_are_texts_and_empty_cells_are_null():
    columns, _ = cells(source_of(' a ,b,c\n 1 ,"",NA\nnan,"x ""y""\nz",\n'))
    assert columns == {"a": [" 1 ", "nan"], "b": [None, 'x "y"\nz'], "c": ["NA", None]}


def test_ragged_rows_stay_in_their_place_and_keep_their_cells():
    lines, expected = ["a;b"], []
    for i in range(5000):
        is_ragged = i in (0, 4999) or 1020 < i < 1030 or i % 97 == 0
        lines.append(f"{i}" if is_ragged else f"{i};{i},5")
        expected.append(is_ragged)
    columns, faults = cells(source_of("\n".join(lines)))
    assert columns["a"] == [str(i) for i in range(5000)]
    assert columns["b"] == [None if bad else f"{i},5" for i, bad in enumerate(expected)]
    assert [fault is not None for fault in faults] == expected
    assert faults[0] == ("ragged", "the row has 1 cells, the header 2")


def test_many_ragged_rows_are_read_in_batches():
    columns, faults = cells(source_of("a,b\n" + "1\n" * 50_000 + "1,2\n"))
    assert len(columns["a"]) == 50_001
    assert sum(fault is not None for fault in faults) == 50_000


def test_one_column_may_have_blank_lines_as_missing_cells():
    assert cells(source_of("a\n1\n\n3\n"))[0] == {"a": ["1", None, "3"]}


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\ufeffa,b\r\n"])
def test_a_header_without_rows_has_no_rows(text):
    source = source_of(text)
    assert source.names == ("a", "b")
    assert cells(source) == ({"a": [], "b": []}, [])


def test_columns_can_have_no_name_or_one_name_twice():
    source = source_of(",a,a\n1,2,3\n4,5,6\n")
    assert source.names == ("", "a", "a")
    assert cells(source, ["", "a"])[0] == {"": ["1", "4"], "a": ["2", "5"]}


def test_a_last_column_without_a_name_but_with_cells_stays():
    assert source_of("a,b,\n1,2,\n3,4,5\n").names == ("a", "b", "")


def test_columns_come_in_the_order_of_the_request():
    columns, _ = cells(source_of("a,b,c\n1,2,3\n"), ["c", "a"])
    assert columns == {"c": ["3"], "a": ["1"]}
    batches = list(source_of("a,b\n1,2\n3\n").batches([]))
    assert [len(batch.faults) for batch in batches] == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (" \n", "is empty"),
        (",,\n1,2,3\n", "has a header line without names"),
        ('a,b\n1,"2\n' + "3,4\n" * 600_000, "a row is longer than 1 MiB; is a quote left open"),
        ('"' + "a" * 200_000, "the header is not a line of CSV"),
    ],
)
def test_a_file_that_is_not_csv_is_explained(text, message):
    with pytest.raises(InvalidInput, match=message):
        cells(source_of(text))


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', "SEP=;\r"])
def test_the_line_for_excel_names_the_separator(line):
    source = source_of(f"{line}a,x;b\n1;2\n")
    assert source.names == ("a,x", "b")
    assert cells(source)[0] == {"a,x": ["1"], "b": ["2"]}


def test_the_message_suggests_an_open_quote():
    _, faults = cells(source_of('a,b\n1,2\n3,"4\n5,6\n7,8\n'), [])
    assert "is a quote left open?" not in str(faults[0])
    _, faults = cells(source_of('a,b\n1,2\n"3,4\n5",6,7\n7,8\n'))
    assert "is a quote left open?" in faults[1][1]


def test_bytes_of_another_encoding_are_faults_of_their_rows():
    """The first MiB is ASCII, so Latin-1 comes as a surprise, in a good row and in a ragged one."""
    data = b"a,b\n" + b"1,%s\n" % (b"x" * 1000) * 1200 + b"2,caf\xe9\n3,ok\nna\xefve\n4,\xc3\xa9\n"
    columns, faults = cells(source_of(data, len(data)))
    assert columns["b"][-4:] == ["caf\ufffd", "ok", None, "é"]
    assert faults[-3] is None
    assert faults[-1] is None
    kind, text = faults[-4]
    assert kind == "unreadable"
    assert text == (
        "column 'b': the bytes e9 are not UTF-8; if the whole file is in another encoding, name it, such as "
        "--encoding latin-1"
    )
    assert faults[-2][0] == "ragged"
    assert columns["a"][-2] == "na\ufffdve"


def test_a_header_in_another_encoding_is_refused():
    with pytest.raises(InvalidInput, match="header holds bytes that are not UTF-8"):
        source_of(b"a\xff,b\xc3\xa9\xc3\xa9\n1,2\n")


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("t.csv", "a,b\n1,2\n", None),
        ("t.tsv", "a\tb\n1\t2\n", None),
        ("t.TSV", "a,b\n1,2\n", "cells separated by ','"),
        ("t.csv", "a\tb\n1\t2\n", "cells separated by tabs"),
        ("t.csv", b"a;b\n1,5;\xe9\n", "cells separated by ';', decimal commas, encoding Windows-1252"),
        ("t.csv", "a,b\n'x,y',2\n", "cells quoted by '"),
        ("t.csv", "a\tb\n1\t2\n".encode("utf-16"), "cells separated by tabs, encoding UTF-16"),
    ],
)
def test_a_note_says_what_is_unusual(tmp_path, name, data, note):
    source = open_bytes(tmp_path, name, data)
    assert source.notes == ((f"{tmp_path / name}: {note}",) if note else ())
    cells(source)


def test_options_override_what_the_file_shows(tmp_path):
    options = {"separator": ";", "decimal": ",", "encoding": "latin-1"}
    source = open_bytes(tmp_path, "t.csv", b"a,x;b\n1,2;\xc3\xa9\n", **options)
    assert source.notes == ()
    assert (source.names, source.decimal, source.encoding) == (("a,x", "b"), ",", "iso8859-1")
    assert cells(source)[0] == {"a,x": ["1,2"], "b": ["Ã©"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ";;"}, "--separator ';;': expected one ASCII character"),
        ({"separator": "¬"}, "expected one ASCII character"),
        ({"decimal": "x"}, "--decimal 'x': expected"),
        ({"separator": ",", "decimal": ","}, "are both ','"),
        ({"encoding": "klingon"}, "--encoding klingon: is not the name of an encoding"),
        ({"encoding": "rot13"}, "--encoding rot13: is not"),
        ({"encoding": "base64"}, "--encoding base64: is not"),
    ],
)
def test_options_that_are_not_possible_are_refused(tmp_path, options, message):
    with pytest.raises(InvalidInput, match=message):
        read_bytes(tmp_path, "t.csv", "a\n1\n", **options)


def test_progress_counts_what_was_handed_out_not_what_was_read_ahead():
    data = b"a,b\n" + b"1.5,2.5\n" * 400_000
    source = source_of(data, len(data))
    assert source.progress()[0] < 10
    for rows, batch in enumerate(source.batches(["a"]), start=1):
        assert len(batch.faults) == 1024
        assert abs(source.progress()[0] - 8 * 1024 * rows) < 200_000
        if rows == 200:
            break
    assert source.progress()[1] == len(data)


def test_a_read_error_names_the_input():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 2**20:
                raise OSError(5, "Input/output error")
            return super().read(size)

    data = b"a,b\n" + b"1,%s\n" % (b"x" * 1000) * 4000
    with pytest.raises(InvalidInput, match=r"text: cannot be read: .*Input/output error"):
        cells(DelimitedSource(TextStream(ByteStream(Failing(data), "text", 8)), ReadOptions()))


@pytest.mark.parametrize("rows_read", ["some", "all"])
def test_no_thread_reads_once_the_rows_are_closed(rows_read, monkeypatch):
    # A thread that reads while the process ends aborts the process.
    files = []

    class SlowBlocks(delimited._Blocks):
        def __init__(self, *args):
            super().__init__(*args)
            files.append(weakref.ref(self))

        def read(self, size=-1):
            time.sleep(0.1)
            return super().read(size)

    monkeypatch.setattr(delimited, "_Blocks", SlowBlocks)
    source = source_of("a,b\n" + f"{'x' * 999},2\n" * 2**12)
    batches = source.batches(source.names)
    next(batches)
    if rows_read == "all":
        assert sum(raw.columns.num_rows for raw in batches) > 2**11
    batches.close()
    assert [file() for file in files] == [None]
