"""Arrays of numpy: numbers and records, never pickles."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources import open_source
from tests.support.array_attacks import ARRAYS
from tests.support.sources import cells


def source_of(folder, array, **options):
    np.save(folder / "t.npy", array, **options)
    return open_source(str(folder / "t.npy"))


MATRIX = np.arange(6000).reshape(2000, 3)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (MATRIX.astype("f8"), pa.float64()),
        (np.asfortranarray(MATRIX.astype("f4")), pa.float32()),
        (MATRIX.astype(">f8"), pa.float64()),
        (MATRIX.astype(">i2"), pa.int16()),
        (MATRIX.astype("u8"), pa.uint64()),
        (MATRIX.astype("f2"), pa.float16()),
        (MATRIX.astype("g"), pa.float64()),
        (MATRIX % 2 == 0, pa.bool_()),
        (MATRIX.astype("U"), pa.string()),
        (MATRIX.astype("S"), pa.string()),
    ],
)
def test_columns_are_those_of_the_matrix(tmp_path, array, kind):
    source = source_of(tmp_path, array)
    assert source.names == ("x0", "x1", "x2")
    assert [source.type_of(name) for name in source.names] == [kind] * 3
    columns, faults = cells(source, ["x2", "x0"])
    expected = array.astype("U") if array.dtype.kind == "S" else array
    assert columns == {"x2": expected[:, 2].tolist(), "x0": expected[:, 0].tolist()}
    assert faults == [None] * 2000


def test_values_lose_nothing(tmp_path):
    column, _ = cells(source_of(tmp_path, np.array([[0.1], [np.nan], [np.inf]], "f4")))
    assert column["x0"][0] == np.float32(0.1)
    assert np.isnan(column["x0"][1])
    assert column["x0"][2] == np.inf
    assert cells(source_of(tmp_path, np.array([2**64 - 1], "u8")))[0] == {"x0": [2**64 - 1]}


def test_records_are_columns_with_names(tmp_path):
    kinds = [("a", ">f4"), ("s", "U5"), ("b", "S5"), ("t", "M8[us]"), ("day", "M8[D]"), ("ok", "?")]
    rows = np.array(
        [(1.5, "é", b"x", "2024-01-02T03:04:05", "2024-01-02", True), (2, "", b"\xff", "NaT", "NaT", False)], kinds
    )
    source = source_of(tmp_path, rows)
    assert source.names == ("a", "s", "b", "t", "day", "ok")
    assert [source.type_of(name) for name in ("t", "day")] == [pa.timestamp("us"), pa.timestamp("s")]
    columns, faults = cells(source)
    assert columns == {
        "a": [1.5, 2.0],
        "s": ["é", None],
        "b": ["x", None],
        "t": [datetime.datetime(2024, 1, 2, 3, 4, 5), None],
        "day": [datetime.datetime(2024, 1, 2), None],
        "ok": [True, False],
    }
    assert faults == [None, ("unreadable", "column 'b': b'\\xff' is not UTF-8 text")]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\), expected a matrix \(rows, columns\); save array.reshape"),
        (np.array(1.0), "holds a single value"),
        (np.zeros((3, 0)), "has no columns"),
        (np.zeros(3, complex), "values of type complex128, expected numbers"),
        (np.zeros(3, [("a", "f4", 2)]), "field 'a' holds values of type"),
        (np.zeros((2, 2), [("a", "f4")]), "records of shape"),
        (np.zeros(3, "m8[s]"), "timedelta64"),
    ],
)
def test_arrays_that_are_no_tables_are_explained(tmp_path, array, message):
    with pytest.raises(InvalidInput, match=message):
        source_of(tmp_path, array)


def test_objects_are_never_unpickled(tmp_path):
    with pytest.raises(InvalidInput, match="holds Python objects, which only pickle can read; save numbers"):
        source_of(tmp_path, np.array([{"a": 1}], object), allow_pickle=True)


@pytest.mark.parametrize("name", ARRAYS)
def test_hostile_files_are_read_or_refused(tmp_path, name):
    path = tmp_path / "noise.npy"
    path.write_bytes(ARRAYS[name])
    try:
        source = open_source(str(path))
    except InvalidInput:
        return
    cells(source)


def test_arrays_without_rows_and_progress(tmp_path):
    assert cells(source_of(tmp_path, np.zeros((0, 2)))) == ({"x0": [], "x1": []}, [])
    source = source_of(tmp_path, MATRIX)
    next(source.batches(["x0"]))
    assert source.progress() == (1024, 2000)


def test_other_versions_of_the_header_are_read(tmp_path):
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "t.npy").open("wb") as file:
            np.lib.format.write_array(file, MATRIX, version)
        assert cells(open_source(str(tmp_path / "t.npy")))[0]["x0"] == MATRIX[:, 0].tolist()


def test_numbers_that_are_no_characters_are_faults(tmp_path):
    for order in "<>":
        values = np.array([0x110000, 0x41, 0xD800], f"{order}u4").view(f"{order}U1")
        columns, faults = cells(source_of(tmp_path, values))
        assert columns == {"x0": [None, "A", None]}
        assert faults[0] == ("unreadable", "column 'x0': holds numbers that are no characters")
        assert faults[1] is None
        assert "is not UTF-8 text" in faults[2][1]


@pytest.mark.parametrize(
    "header", ["(" * 50, "{'descr': '<f4', 'shape': (3L,), 'fortran_order': False}", "{}", "lambda: 1"]
)
def test_damaged_headers_are_explained(tmp_path, header):
    path = tmp_path / "t.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InvalidInput, match=r"t\.npy: (damaged, or not a file of numpy\.save|is cut off)"):
        open_source(str(path))
