"""Files that partition keys exclude are not opened."""

from __future__ import annotations

import pytest

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import AnomalyVaeWarning
from anomaly_vae.table.sources import open_source
from tests.support.sources import cells


def written(folder, **files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return str(folder)


def filtered(path, text):
    return open_source(path, ReadOptions(filter=text))


def test_excluded_files_may_even_be_damaged(tmp_path):
    path = written(tmp_path, **{"y=2022/a.csv": "x\n1\n", "y=2023/a.csv": "", "y=2024/a.csv": "x\n2\n"})
    source = filtered(path, "y <> 2023")
    assert source.notes[-1] == f"{path}/: only rows with y <> 2023: 1 of 3 files not read"
    assert cells(source)[0] == {"x": ["1", "2"], "y": ["2022", "2024"]}


def test_one_file_stays_to_say_what_columns_there_are(tmp_path):
    path = written(tmp_path, **{"y=1/a.csv": "x\n1\n", "y=2/a.csv": "x\n2\n"})
    with pytest.warns(AnomalyVaeWarning, match="no row passes the filter y = 3"):
        assert cells(filtered(path, "y = 3"))[0] == {"x": [], "y": []}


def test_a_column_of_the_name_of_a_key_counts(tmp_path):
    path = written(tmp_path, **{"y=1/a.csv": "x,y\n1,2\n", "y=2/a.csv": "x,y\n2,1\n"})
    assert cells(filtered(path, "y = 2"))[0] == {"x": ["1"], "y": ["2"]}


def test_files_of_json_lines_all_stay(tmp_path):
    path = written(tmp_path, **{"y=1/a.jsonl": '{"x": 1, "y": 2}\n', "y=2/a.jsonl": '{"x": 2}\n'})
    assert cells(filtered(path, "y = 2"))[0] == {"x": ["1"], "y": ["2"]}
