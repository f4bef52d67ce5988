"""Parts of a table, read one by one, are the table."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.table import open_table, parts
from anomaly_vae.table.parts import cut
from anomaly_vae.table.reader import Table
from anomaly_vae.table.sources import open_source

READER = CellReader([Input(name="a", reading=NumberReading())], CodeBook(), Markers())


def sent(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def read(path, start=(0, 0)):
    """Return the parts, and for each row its file, its number and its kept cell."""
    table = open_table(str(path))
    reader, found = table.reader_for(READER, ["b"]), cut(table, start)
    rows = []
    for part in sent(found):
        for batch in part.batches(sent(reader), ["b"]):
            cells = batch.kept.column("b").to_pylist()
            rows += [(batch.fragment, *row) for row in zip(batch.rows[:, 0].tolist(), cells, strict=True)]
    return found, rows


def write(path, first, count, **options):
    numbers = np.arange(first, first + count)
    pq.write_table(pa.table({"a": numbers * 0.5, "b": [f"b{i}" for i in numbers]}), path, **options)


@pytest.mark.parametrize("group", [1, 7, 10, 25, 100])
@pytest.mark.parametrize("most", [1, 10, 1000])
def test_row_groups_are_joined_and_divided(tmp_path, monkeypatch, group, most):
    monkeypatch.setattr(parts, "_MOST_ROWS", most)
    write(tmp_path / "a.parquet", 0, 53, row_group_size=group)
    expected = [(0, i * 0.5, f"b{i}") for i in range(53)]
    found, rows = read(tmp_path / "a.parquet")
    assert rows == expected
    assert max(part.rows for part in found) <= most
    assert sum(part.size for part in found) == pytest.approx((tmp_path / "a.parquet").stat().st_size)
    if most == 10:
        assert len(found) <= 9  # no part for each small group
    for start in (1, 10, 24, 52, 53):
        assert read(tmp_path / "a.parquet", (0, start))[1] == expected[start:]


def test_files_of_folders_are_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_MOST_ROWS", 4)
    for i in range(3):
        write(tmp_path / f"{i}.parquet", 10 * i, 5 * i)
    monkeypatch.chdir(tmp_path.parent)
    found, rows = read(tmp_path.name)  # workers have another current folder
    monkeypatch.chdir("/")
    assert rows == [(i, 0.5 * n, f"b{n}") for i in range(3) for n in range(10 * i, 15 * i)]
    assert Counter(part.fragment for part in found) == {0: 1, 1: 2, 2: 3}
    assert read(tmp_path, (2, 3))[1] == [row for row in rows if row[0] == 2][3:]


def test_decimal_marks_of_the_first_rows_hold_for_all_parts(tmp_path):
    (tmp_path / "1.csv").write_text("a;b\n1,5;x\n")
    (tmp_path / "2.csv").write_text("a;b\n1;y\n")
    assert read(tmp_path)[1] == [(0, 1.5, "x"), (1, 1.0, "y")]
    (tmp_path / "one.csv").write_text("a;b\n1,5;x\n2,5;y\n")
    assert read(tmp_path / "one.csv", (0, 1))[1] == [(0, 2.5, "y")]


def test_a_damaged_file_is_an_error_or_left_out(tmp_path):
    write(tmp_path / "1.parquet", 0, 3)
    write(tmp_path / "2.parquet", 0, 3000, compression="none", use_dictionary=False)
    for skips in (False, True):
        table = open_table(str(tmp_path), skips=skips)
        reader, found = table.reader_for(READER, ["b"]), cut(table)
        data = (tmp_path / "2.parquet").read_bytes()
        (tmp_path / "2.parquet").write_bytes(b"PAR1" + bytes(2000) + data[2004:])
        if skips:
            assert not list(found[-1].batches(reader, ["b"]))
            assert "2.parquet: damaged" in found[-1].left_out
            table.leave_out(1, found[-1].left_out)
            assert [part.fragment for part in cut(table)] == [0]
        else:
            with pytest.raises(InvalidInput, match=r"2\.parquet: damaged"):
                list(found[-1].batches(reader, ["b"]))
        (tmp_path / "2.parquet").write_bytes(data)


def test_a_pipe_has_no_parts(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    source = open_source(str(tmp_path / "a.csv"))
    source.fragments = ()
    with pytest.raises(ConfigError, match="is a pipe"):
        cut(Table(source))
    source.close()
