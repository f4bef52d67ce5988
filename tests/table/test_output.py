"""Written files are complete, and do not replace existing ones."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.table import open_table, open_writer
from tests.support.tables import read


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_output_appears_only_when_complete(tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    batch = pa.RecordBatch.from_pydict({"x": [1.0, None], "s": ["a", None]})
    with contextlib.suppress(ZeroDivisionError), open_writer(str(path), batch.schema, overwrite=False) as writer:
        writer.write(batch)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with open_writer(str(path), batch.schema, overwrite=False) as writer:
        writer.write(batch)
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    rows, _, kept = read(open_table(str(path)), ["x"], keep=["s"])
    np.testing.assert_array_equal(rows, [[1.0], [np.nan]])
    assert kept["s"].to_pylist() == ["a", None]
    with pytest.raises(ConfigError, match="exists already"), open_writer(str(path), batch.schema, overwrite=False):
        pass
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path):
    """If two jobs have the same output, the slower one must not replace the file of the faster one."""
    path = tmp_path / "out.csv"
    batch = pa.RecordBatch.from_pydict({"x": [1.0]})
    writer = open_writer(str(path), batch.schema, overwrite=False)
    with pytest.raises(ConfigError, match="appeared meanwhile"), writer as out:  # noqa: PT012
        out.write(batch)
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]
