"""A folder of files is one table, and files that do not fit together are named."""

from __future__ import annotations

import gzip

import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources import open_source
from tests.support.sources import cells


def written(folder, **files):
    """Write texts to files whose names end in .csv unless they have an ending."""
    for name, data in files.items():
        path = folder / (name if "." in name else f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(folder)


def test_files_follow_each_other_in_the_order_of_their_names(tmp_path):
    path = written(tmp_path, b="y,x\n5,6\n", a="x,y\n1,2\n3\n", **{"c.csv.gz": gzip.compress(b"x;y\n7;8,5\n")})
    source = open_source(path)
    assert source.names == ("x", "y")
    assert source.notes == (
        f"{path}/: 3 files",
        f"{path}/c.csv.gz: cells separated by ';', decimal commas",
    )
    assert (source.is_text, source.decimal, source.encoding) == (True, ",", "utf-8")
    columns, faults = cells(source)
    assert columns == {"x": ["1", "3", "6", "7"], "y": ["2", None, "5", "8,5"]}
    assert [fault and fault[0] for fault in faults] == [None, "ragged", None, None]


def test_a_note_that_holds_for_all_files_is_given_once(tmp_path):
    path = written(tmp_path, **{f"f{i}": "x;y\n1,5;2\n" for i in range(12)}, **{"README.md": "x"})
    assert open_source(path).notes == (
        f"{path}/: 12 files; ignored: README.md",
        f"{path}/: cells separated by ';', decimal commas",
    )


def test_different_decimal_marks_are_refused_unless_the_user_names_one(tmp_path):
    """Read as one table, 1.234 of one file would be 1234 of the other."""
    path = written(tmp_path, a="x;y\n1,5;2\n", b="x;y\n1.5;2\n")
    with pytest.raises(InvalidInput, match=r"different decimal marks, ',' in .*a\.csv and '\.' in .*b\.csv; read them"):
        open_source(path)
    assert open_source(path, ReadOptions(decimal=".")).decimal == "."


def test_patterns_name_files(tmp_path):
    written(tmp_path, a="x\n1\n", b="x\n2\n", c="x\n3\n")
    source = open_source(str(tmp_path / "[ac].csv"))
    assert source.notes == (f"{tmp_path}/[ac].csv: 2 files",)
    assert cells(source)[0] == {"x": ["1", "3"]}


def test_a_hive_data_set_of_pyarrow(tmp_path):
    table = pa.table({"x": [1.5, 2.5, 3.5], "city": ["São Paulo", "a/b", None], "year": [2023, 2024, 2024]})
    pyarrow.dataset.write_dataset(
        table, tmp_path, format="parquet", partitioning=["city", "year"], partitioning_flavor="hive"
    )
    source = open_source(str(tmp_path))
    assert source.names == ("x", "city", "year")
    assert [source.type_of(name) for name in source.names] == [pa.float64(), pa.string(), pa.string()]
    columns, _ = cells(source)
    rows = sorted(zip(*columns.values(), strict=True))
    assert rows == [(1.5, "São Paulo", "2023"), (2.5, "a/b", "2024"), (3.5, None, "2024")]
    assert cells(open_source(str(tmp_path)), ["year"])[0]["year"].count("2024") == 2


def test_data_sets_of_polars_and_pandas(tmp_path):
    polars.DataFrame({"k": ["a", "b"], "x": [1, 2]}).write_parquet(tmp_path / "p", partition_by="k")
    columns, _ = cells(open_source(str(tmp_path / "p")), ["x", "k"])
    assert columns == {"x": [1, 2], "k": ["a", "b"]}
    pandas.DataFrame({"k": ["a", "b"], "x": [1, 2]}).to_parquet(tmp_path / "q", partition_cols=["k"])
    assert cells(open_source(str(tmp_path / "q" / "k=*")), ["x", "k"])[0] == {"x": [1, 2], "k": ["a", "b"]}


def test_a_key_that_the_files_have_as_a_column_is_left_out(tmp_path):
    path = written(tmp_path, **{"k=1/a": "k,x\n5,6\n"})
    source = open_source(path)
    assert source.names == ("k", "x")
    assert cells(source)[0] == {"k": ["5"], "x": ["6"]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a": "x,y\n", "b": "x,z\n"},
            r"different columns: .*b\.csv lacks 'y' and has also 'z', compared with .*a\.csv",
        ),
        ({"a": "x\n", "b": "x,p,q,r,s\n"}, r"has also 'p', 'q', 'r' and 1 more"),
        ({"a": "x,y\n", "b": "x,y,y\n"}, "has a column twice"),
        ({"k=1/a": "x\n", "b": "x\n"}, r"the folders of .*k=1/a.csv have the keys \['k'\], those of .*b\.csv \[\]"),
        ({"a": "x\n", "b": ""}, r"b\.csv: is empty"),
    ],
)
def test_files_that_do_not_fit_together_are_named(tmp_path, files, message):
    with pytest.raises(InvalidInput, match=message):
        open_source(written(tmp_path, **files))


def parquets(folder, *columns):
    for i, column in enumerate(columns):
        pyarrow.parquet.write_table(pa.table({"x": column}), folder / f"{i}.parquet")
    return str(folder)


def test_types_that_differ_become_one_if_they_can(tmp_path):
    whole = pa.array([1, 2**53 + 1])
    source = open_source(parquets(tmp_path, whole.cast(pa.int64()), pa.array([0.5]), pa.nulls(1)))
    assert source.type_of("x") == pa.float64()
    assert cells(source)[0] == {"x": [1.0, 2.0**53, 0.5, None]}
    source = open_source(parquets(tmp_path, pa.array(["a"]).dictionary_encode(), pa.array(["b"]), pa.nulls(1)))
    assert cells(source)[0] == {"x": ["a", "b", None]}


def test_types_that_cannot_become_one_are_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"column 'x' is string in .*1\.parquet, but int64 in the files") as caught:
        open_source(parquets(tmp_path, pa.array([1]), pa.array(["a"])))
    assert caught.value.field == "x"
    far = pa.array([2**40]).cast(pa.timestamp("s"))
    with pytest.raises(InvalidInput, match=r"0\.parquet: column 'x': "):
        cells(open_source(parquets(tmp_path, far, pa.array([1]).cast(pa.timestamp("ns")))))


def test_files_of_different_formats_by_content_are_refused(tmp_path):
    np.save(tmp_path / "b.npy", np.zeros(2))
    (tmp_path / "b.npy").rename(tmp_path / "b.csv")
    with pytest.raises(InvalidInput, match=r"b\.csv has another format than .*a\.csv"):
        open_source(written(tmp_path, a="x0\n1\n"))


def test_json_lines_may_lack_keys_in_some_files(tmp_path):
    path = written(tmp_path, **{"a.jsonl": '{"x": 1, "y": {}}\n', "b.jsonl": '{"x": 2, "z": [1]}\n'})
    source = open_source(path)
    assert (source.names, source.nested) == (("x", "y", "z"), {"y": "objects", "z": "arrays"})
    assert cells(source)[0] == {"x": ["1", "2"], "y": ["{}", None], "z": [None, "[1]"]}


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    source = open_source(written(tmp_path, a="x,y\n1,2\n", b="x,y\n1,2\n"))
    written(tmp_path, b="z\n1\n")
    with pytest.raises(InvalidInput, match=r"b\.csv: changed while the files were read"):
        cells(source)


def test_no_file_stays_open(tmp_path):
    """Thousands of files are more than a process may hold open."""
    path = written(tmp_path, **{f"f{i:04}": "x\n1\n" for i in range(1500)})
    assert len(cells(open_source(path))[1]) == 1500
