"""Files in object stores, in parts and as a whole."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace

import numpy as np
import pyarrow.fs
import pytest

from anomaly_vae.errors import InvalidInput, RemoteError
from anomaly_vae.table.stores import reading
from anomaly_vae.table.stores.places import ObjectPath
from anomaly_vae.table.stores.reading import ObjectFile, ReadAhead, local_copy


class CountedSystem:
    """The local file system, which counts requests and fails on demand."""

    def __init__(self):
        self.requests, self.fault = [], None

    def open_input_file(self, key):
        file = pyarrow.fs.LocalFileSystem().open_input_file(key)
        return SimpleNamespace(size=file.size, close=file.close, read_at=lambda n, at: self._read(file, n, at))

    def _read(self, file, size, at):
        self.requests.append((at, size))
        if self.fault is not None:
            raise self.fault
        return file.read_at(size, at)


@pytest.fixture
def data():
    return np.random.default_rng(0).bytes(1_000_000)


@pytest.fixture
def path(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    return ObjectPath(CountedSystem(), "s3", str(tmp_path / "x"), len(data))


def test_parts_are_read_by_exact_requests(path, data):
    with io.BufferedReader(ObjectFile(path), 10) as file:
        assert file.seekable()
    file = ObjectFile(path)
    assert file.read(5) == data[:5]
    assert file.seek(-4, os.SEEK_END) == len(data) - 4
    assert file.read() == data[-4:]
    assert file.read(1) == b""
    file.seek(10)
    file.seek(2, os.SEEK_CUR)
    assert file.read(3) == data[12:15]
    assert path.system.requests == [(0, 5), (len(data) - 4, 4), (12, 3)]
    file.close()
    file.close()


def test_a_file_from_its_start_takes_few_requests_that_grow(path, data, monkeypatch):
    monkeypatch.setattr(reading, "_MOST_BYTES", 2**18)
    file, parts = ReadAhead(path), []
    while part := file.read(1000):
        parts.append(part)
    assert b"".join(parts) == data
    sizes = [size for _, size in path.system.requests]
    assert sizes == [2**16, 2**17, 2**18, 2**18, 2**18, len(data) - 15 * 2**16]
    file.close()


def test_a_failure_of_the_store_is_no_damaged_file(path):
    path.system.fault = OSError("the network\nis down")
    with pytest.raises(RemoteError, match=r"s3://.*/x: the network is down"):
        ObjectFile(path).read(1)
    path.system.fault = FileNotFoundError("gone")
    with pytest.raises(RemoteError, match="was deleted while it was read"):
        ObjectFile(path).read(1)
    with pytest.raises(InvalidInput, match="no such file"):
        ObjectFile(ObjectPath(path.system, "s3", f"{path.key}-none"))


def test_a_copy_has_no_name_and_outlives_its_block(path, data, tmp_path, monkeypatch):
    monkeypatch.setattr(reading.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with local_copy(path) as copy:
        assert list((tmp_path / "tmp").iterdir()) == []
        file = copy.open("rb")
    assert file.read() == data
    file.close()


def test_a_copy_that_finds_no_room_is_explained(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reading.shutil, "copyfileobj", full)
    with pytest.raises(
        RemoteError, match=r"1000000 bytes cannot be written to .*: No space left on device; set TMPDIR"
    ):
        local_copy(path).__enter__()
