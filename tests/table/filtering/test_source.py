"""Reading with a filter gives the rows that filtering after reading gives."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import AnomalyVaeWarning, InvalidInput
from anomaly_vae.table.base import BATCH_ROWS
from anomaly_vae.table.filtering.evaluation import truth_of
from anomaly_vae.table.filtering.parser import parse_filter
from anomaly_vae.table.filtering.source import FilteredSource, may_hold_rows
from anomaly_vae.table.sources import open_source
from tests.support.remote_stores import put_objects
from tests.support.sources import cells
from tests.table.filtering.test_evaluation import FILTERS, SCHEMA


def filtered(path, text):
    return open_source(str(path), ReadOptions(filter=text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sorted and shuffled columns in two files with row groups of 5 rows."""
    folder, chance = tmp_path_factory.mktemp("parquet"), random.Random(0)
    for number in range(2):
        rows = [
            {
                "i": None if n % 7 == 0 else number * 3 + n // 5 - 3,
                "x": chance.choice([None, float("nan"), -2.5, 0.0, 0.5, 2.0]),
                "s": chance.choice([None, "", "a", "ab", "b%", "é"]),
                "b": [None, False, True, True][n // 5 % 4],
            }
            for n in range(40)
        ]
        table = pa.Table.from_pylist(rows, SCHEMA)
        pyarrow.parquet.write_table(table, folder / f"{number}.parquet", row_group_size=5)
    return folder


@pytest.mark.filterwarnings("ignore:.*no row passes the filter")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS)
def test_rows_of_pruned_files_are_those_of_all_files(folder, node):
    for path in (folder, folder / "1.parquet"):
        files = sorted(folder.iterdir()) if path == folder else [path]
        table = pa.concat_tables(map(pyarrow.parquet.read_table, files))
        table = table.combine_chunks().to_batches()[0]
        kept = table.filter(truth_of(node, {name: table.column(name) for name in SCHEMA.names}))
        columns, _ = cells(FilteredSource(open_source(str(path)), node, "it"), ["i", "s"])
        assert columns == {name: kept.column(name).to_pylist() for name in ("i", "s")}


def test_row_groups_that_cannot_match_are_not_read(tmp_path):
    table = pa.table({"x": np.arange(10_000), "y": np.arange(10_000) % 7})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=1000)
    source = filtered(tmp_path / "t.parquet", "x >= 8500 AND y = 3")
    assert source.notes == (f"{tmp_path}/t.parquet: only rows with x >= 8500 AND y = 3: 8 of 10 row groups not read",)
    assert cells(source, ["x"])[0]["x"] == [n for n in range(8500, 10_000) if n % 7 == 3]
    assert source.facts()["rows_read"] == 2000
    source = filtered(tmp_path, "x >= 8500")  # a folder knows its row groups when it reads them
    assert len(cells(source, ["y"])[0]["y"]) == 1500
    assert source.said() == "kept 1,500 of 2,000 rows read; 8 of 10 row groups not read"


def test_few_rows_are_gathered_into_full_batches(tmp_path):
    (tmp_path / "t.csv").write_text("x,k\n" + "".join(f"{n},{n % 10}\n" for n in range(30_000)))
    sizes = [len(raw.faults) for raw in filtered(tmp_path / "t.csv", "k = 3").batches(["x"])]
    assert sum(sizes) == 3000
    assert all(BATCH_ROWS / 2 < size <= BATCH_ROWS for size in sizes[:-1])


def test_cells_of_csv_are_numbers_where_the_filter_has_one(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n9,a\n10,b\nn/a,c\n,d\n11\n1e1,e\n")
    source = filtered(tmp_path / "t.csv", "x >= 10")
    columns, faults = cells(source)
    assert columns == {"x": ["10", "11", "1e1"], "y": ["b", None, "e"]}
    assert [fault and fault[0] for fault in faults] == [None, "ragged", None]
    source = filtered(tmp_path / "t.csv", "y = 'a'")
    assert cells(source)[0]["x"] == ["9"]
    assert source.said() == "kept 1 of 6 rows read, 1 that cannot be read were left out"


def test_a_filter_that_keeps_no_row_is_loud(tmp_path):
    (tmp_path / "t.csv").write_text("x\n1\n")
    with pytest.warns(AnomalyVaeWarning, match=r"t.csv: no row passes the filter x > 1; kept 0 of 1 rows read"):
        assert cells(filtered(tmp_path / "t.csv", "x > 1"))[0] == {"x": []}


def test_a_filter_that_does_not_fit_is_explained(tmp_path):
    (tmp_path / "t.csv").write_text("x\n1\n")
    with pytest.raises(InvalidInput, match=r"t\.csv has no column 'y'; it has 'x'"):
        filtered(tmp_path / "t.csv", "y > 1")


def test_a_table_in_an_object_store(bucket, tmp_path):
    put_objects(bucket, **{"d/k=1/a.csv": "x\n1\n2\n", "d/k=2/a.csv": "x\n3\n4\n"})
    source = filtered(f"s3://{bucket}/d", "k = 2 AND x > 3")
    assert cells(source)[0] == {"x": ["4"], "k": ["2"]}
    assert source.facts()["files_skipped"] == 1


def test_keys_exclude_files():
    node = parse_filter("k > 1 AND s = 'a'")
    assert not may_hold_rows(node, {"k": "1"}, ["s"])
    assert may_hold_rows(node, {"k": "2"}, ["s"])
    assert may_hold_rows(node, {"k": "1"}, ["s", "k"])  # the files' own column counts
    assert not may_hold_rows(node, {"k": None}, ["s"])
