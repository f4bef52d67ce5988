"""Where results go: names of files, folders and what may be replaced."""

from __future__ import annotations

import pytest

from anomaly_vae.batch.targets import MARKER, DataSetTarget, FileTarget, is_data_set
from anomaly_vae.errors import ConfigError
from anomaly_vae.table import Fragment


def fragments(*names):
    return [Fragment(name, name, 0, 0) for name in names]


@pytest.mark.parametrize(
    ("output", "many", "expected"),
    [
        ("out/", False, True),
        ("out", True, True),
        ("out", False, False),
        ("out.csv", True, False),
        ("out.csv/", True, True),
        ("-", True, False),
    ],
)
def test_the_name_of_an_output_says_whether_it_is_a_folder(output, many, expected):
    assert is_data_set(output, has_many_files=many) is expected


def test_files_have_the_names_of_those_of_the_input(tmp_path):
    names = ["day=1/a.csv", "day=1/a.csv.gz", "day=2/a.CSV.GZ", "b.parquet", "no-ending", "v1.2.csv"]
    target = DataSetTarget(str(tmp_path / "out"), fragments(*names), overwrite=False)
    found = [target.written(tmp_path, i).relative_to(tmp_path / "output").as_posix() for i in range(len(names))]
    assert found == [
        "day=1/a.csv.parquet",
        "day=1/a.csv.gz.parquet",
        "day=2/a.parquet",
        "b.parquet",
        "no-ending.parquet",
        "v1.2.parquet",
    ]


def test_only_earlier_outputs_are_replaced(tmp_path):
    path = tmp_path / "out"
    target = DataSetTarget(str(path), fragments("a.csv"), overwrite=True)
    target.refuse()
    path.mkdir()
    target.refuse()  # an empty folder
    with pytest.raises(ConfigError, match="exists already"):
        DataSetTarget(str(path), fragments("a.csv"), overwrite=False).refuse()
    (path / "photo.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="replaces a folder only if"):
        target.refuse()
    (path / MARKER).write_text("{}")
    target.refuse()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        DataSetTarget(str(tmp_path / "file"), fragments("a.csv"), overwrite=True).refuse()


def test_a_file_has_a_known_ending():
    with pytest.raises(ConfigError, match="expected a file ending in"):
        FileTarget("out.xlsx", overwrite=False)
