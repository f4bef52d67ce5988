"""JSON lines: every cell keeps its literal text, and a broken line is a fault of its row."""

from __future__ import annotations

import gzip
import json

import msgspec
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.json_lines import JsonLinesSource, is_object
from tests.support.sources import cells, open_bytes, read_bytes
from tests.table.sources.test_encoding import stream_of


def source_of(text):
    return JsonLinesSource(stream_of(text if isinstance(text, bytes) else text.encode()))


def test_values_keep_their_text():
    line = '{"a": 1.50, "b": 12345678901234567890123, "c": "x,\\"y\\" \\u00e9", "d": true, "e": null, "f": ""}'
    columns, faults = cells(source_of(line + '\n{"g": -1e-7, "c": "é", "d":false}\r\n\n{"a": 2}'))
    assert columns == {
        "a": ["1.50", None, "2"],
        "b": ["12345678901234567890123", None, None],
        "c": ['x,"y" é', "é", None],
        "d": ["true", "false", None],
        "e": [None, None, None],
        "f": [None, None, None],
        "g": [None, "-1e-7", None],
    }
    assert faults == [None] * 3


def test_the_attributes_are_those_of_a_text_format():
    source = source_of('{"a": 1}\n')
    assert (source.is_text, source.decimal, source.encoding, source.notes) == (True, ".", "utf-8", ())


# The last characters of Unicode stand for bytes of another encoding; a row that holds one is reported.
TEXTS = st.text(st.characters(max_codepoint=0x10FEFF), max_size=10)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries({"x": SCALARS, "y": TEXTS}), min_size=1, max_size=20))
def test_what_python_writes_is_read(rows):
    try:
        data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    except UnicodeEncodeError:
        return
    columns, faults = cells(source_of(data))
    assert not any(faults)
    assert columns["y"] == [row["y"] or None for row in rows]
    for value, cell in zip((row["x"] for row in rows), columns["x"], strict=True):
        assert cell == (value or None if isinstance(value, str) else None if value is None else json.dumps(value))


def test_half_a_character_is_a_fault():
    columns, faults = cells(source_of('{"a": "\\ud800"}\n{"a": "b"}\n'))
    assert columns["a"] == [None, "b"]
    assert faults[0][1].startswith("line 1: is not a JSON object: ")


@pytest.mark.parametrize(
    "line", ["[1]", "1", '{"a": 1', '{"a": 01}', "{'a': 1}", '{"a": 1} {"a": 2}', "[" * 100_000, '{"a": NaN']
)
def test_a_line_that_is_no_object_is_a_fault_of_its_row(line):
    columns, faults = cells(source_of(f'{{"a": 1}}\n\n{line}\n{{"a": 3}}\n'))
    assert columns["a"] == ["1", None, "3"]
    assert faults[1][0] == "unreadable"
    assert faults[1][1].startswith("line 3: is not a JSON object: ")
    assert "\n" not in faults[1][1]
    assert (faults[0], faults[2]) == (None, None)


def test_nan_and_infinity_of_python_are_read():
    columns, faults = cells(source_of('{"a": NaN, "b": "NaN", "c": {"d": NaN}}\n{"a": -Infinity, "b": 1.50}\n'))
    assert (columns["a"], columns["b"]) == (["NaN", "-Infinity"], ["NaN", "1.50"])
    assert faults == [None, None]


def test_nested_values_are_listed_and_those_that_come_later_are_faults():
    lines = ['{"a": {"x": [1, 2]}, "b": 1, "c": [1]}'] + ['{"a": {}, "b": 1, "c": []}'] * 100_000
    lines += ['{"b": {"y": 1}}', '{"b": [2]}', '{"late": 1, "b": 3}']
    source = source_of("\n".join(lines))
    assert source.names == ("a", "b", "c")
    assert source.nested == {"a": "objects", "c": "arrays"}
    columns, faults = cells(source)
    assert columns["a"][0] == '{"x": [1, 2]}'
    assert columns["b"][-3:] == ['{"y": 1}', "[2]", "3"]
    assert [fault and fault[1] for fault in faults[-3:]] == [
        "line 100002: column 'b' holds an object, expected one value",
        "line 100003: column 'b' holds an array, expected one value",
        None,
    ]


def test_bytes_that_are_not_utf_8_are_faults():
    data = b'{"a": "x", "b": "\xc3\xa9\xc3\xa9"}\n{"a": "caf\xe9"}\n'
    columns, faults = cells(source_of(data))
    assert columns["a"] == ["x", "caf\ufffd"]
    assert "the bytes e9 are not UTF-8" in faults[1][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no JSON objects"),
        ("{}\n{}\n", "holds no keys in its objects"),
        ("[1]\n", "holds no JSON objects"),
        ('{"a": "' + "x" * 2**25 + '"}', "a line is longer than 16 MiB"),
    ],
)
def test_a_file_without_objects_is_refused(text, message):
    with pytest.raises(InvalidInput, match=message):
        source_of(text)


def test_a_long_line_later_is_refused():
    with pytest.raises(InvalidInput, match="a line is longer than 16 MiB"):
        cells(source_of('{"a": 1}\n' * 200_000 + '{"a": "' + "x" * 2**25 + '"}'))


def test_a_first_line_longer_than_the_sample_is_read():
    columns, _ = cells(source_of('{"a": "' + "x" * 2**21 + '"}\n{"a": 1}\n'))
    assert [len(cell) for cell in columns["a"]] == [2**21, 1]


def test_files_of_pandas_and_compressed_ones_are_read(tmp_path):
    frame = pandas.DataFrame({"x": [0.1, None, 1e300], "s": ["a", "b\n", None]})
    data = frame.to_json(orient="records", lines=True).encode()
    for name, written in (("t.jsonl", data), ("t.ndjson.gz", gzip.compress(data)), ("t.json", data)):
        columns, faults = read_bytes(tmp_path, name, written)
        assert [cell and float(cell) for cell in columns["x"]] == [0.1, None, 1e300]
        assert columns["s"] == ["a", "b\n", None]
        assert not any(faults)


def test_rows_come_in_batches_with_progress(tmp_path):
    data = b"".join(b'{"a": %d, "b": "t%d"}\n' % (i, i) for i in range(150_000))
    source = open_bytes(tmp_path, "t.jsonl", data)
    for number, _ in enumerate(source.batches(["a"]), start=1):
        done, total = source.progress()
        assert total == len(data)
        assert abs(done / total - 1024 * number / 150_000) < 0.05
    columns, _ = cells(open_bytes(tmp_path, "t.jsonl", data), ["b"])
    assert columns["b"] == [f"t{i}" for i in range(150_000)]


def test_long_lines_make_small_batches():
    lines = (b'{"a": "' + b"x" * 2**22 + b'"}\n') * 12
    assert [len(batch.faults) for batch in source_of(lines).batches(["a"])] == [4, 4, 4]


def test_is_object():
    assert is_object(b' {"a": 1} ')
    assert is_object(msgspec.json.encode({}))
    assert not is_object(b"[1]")
    assert not is_object(b"a,b")
    assert not is_object(b"")
