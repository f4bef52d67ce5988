"""The file without a name that holds batches until they are read again."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.batch.spool import open_spool
from anomaly_vae.errors import ConfigError

SCHEMA = pa.schema([("x", pa.float64()), ("text", pa.string())])


def batch(rows, seed=0):
    values = np.random.default_rng(seed).normal(size=rows)
    return pa.RecordBatch.from_arrays([from_numpy(values), pa.array([f"r{v}" for v in values])], schema=SCHEMA)


def test_batches_come_back_in_their_order_and_no_file_has_a_name(tmp_path):
    batches = [batch(rows, seed=rows) for rows in (3, 0, 1000, 1)]
    with open_spool(str(tmp_path / "out.csv"), SCHEMA) as spool:
        for each in batches:
            spool.write(each)
        assert list(tmp_path.iterdir()) == []
        found = list(spool.batches())
    assert [each.equals(other) for each, other in zip(found, batches, strict=True)] == [True] * 4
    with open_spool(str(tmp_path / "out.csv"), SCHEMA) as spool:
        assert list(spool.batches()) == []


def test_a_column_may_have_other_categories_in_each_batch(tmp_path):
    """An Arrow file has one dictionary per column, a stream may replace it."""
    schema = pa.schema([("city", pa.dictionary(pa.int32(), pa.string()))])
    batches = [
        pa.RecordBatch.from_arrays([pa.array(names).dictionary_encode()], schema=schema)
        for names in (["Oslo", "Rome"], ["Bonn", None, "Oslo"])
    ]
    with open_spool(str(tmp_path / "out.csv"), schema) as spool:
        for each in batches:
            spool.write(each)
        found = [each.column("city").to_pylist() for each in spool.batches()]
    assert found == [["Oslo", "Rome"], ["Bonn", None, "Oslo"]]


@pytest.mark.parametrize(("output", "is_beside"), [("out.csv", True), ("-", False)])
def test_the_spool_lies_beside_the_output_or_in_the_folder_for_temporary_files(
    tmp_path, monkeypatch, output, is_beside
):
    """A later rename needs no second copy of the space, and TMPDIR is where users expect it for a pipe."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    folders, file = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: folders.append(dir) or file(dir=dir))  # noqa: A006
    with open_spool(output, SCHEMA):
        assert folders == [tmp_path if is_beside else tmp_path / "tmp"]


def test_a_folder_that_is_not_there_and_a_full_disk_are_named(tmp_path):
    with (
        pytest.raises(ConfigError, match=f"{tmp_path}/none: cannot be written"),
        open_spool(str(tmp_path / "none" / "out.csv"), SCHEMA),
    ):
        pass
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    with open_spool(str(tmp_path / "out.csv"), SCHEMA) as spool:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, spool._file.fileno())
        os.close(full)
        with pytest.raises(OSError, match="No space left") as caught:
            spool.write(batch(20_000))
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
