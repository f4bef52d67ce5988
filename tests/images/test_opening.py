"""Which path is read how, and hostile bytes of all formats."""

from __future__ import annotations

import gzip
import io
import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.images import is_image_input, open_images
from tests.images.test_raw import GREY, idx


def encoded(kind):
    buffer = io.BytesIO()
    Image.fromarray(GREY[0]).save(buffer, kind)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def parquet(cells):
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"a": cells}), buffer)
    return buffer.getvalue()


IMAGES = {
    "x.png": encoded("PNG"),
    "x.jpg": encoded("JPEG"),
    "x.npy": npy(GREY),
    "reals.npy": npy(GREY / 255),
    "x-idx3-ubyte": idx(GREY),
    "x-idx3-ubyte.gz": gzip.compress(idx(GREY)),
    "x.parquet": parquet([encoded("PNG")]),
}
TABLES = {
    "matrix.npy": npy(GREY[0]),
    "rows.csv": b"a,b\n1,2\n",
    "rows.csv.gz": gzip.compress(b"a,b\n1,2\n"),
    "labels": idx(GREY[0, 0]),
    "rows.parquet": parquet([1.0]),
    "bytes.parquet": parquet([b"text"]),
    "empty": b"",
    "damaged.npy": npy(GREY)[:30],
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_images_by_their_content(tmp_path, name):
    (tmp_path / "data").write_bytes(IMAGES[name])
    assert is_image_input(tmp_path / "data")
    assert len(open_images(tmp_path / "data")) > 0


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_not_images(tmp_path, name):
    (tmp_path / name).write_bytes(TABLES[name])
    assert not is_image_input(tmp_path / name)
    with pytest.raises(InvalidInput, match=name):
        open_images(tmp_path / name)


def test_folders_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_image_input(".")
    (tmp_path / "a.png").write_bytes(IMAGES["x.png"])
    (tmp_path / "b.png").write_bytes(IMAGES["x.png"])
    (tmp_path / "labels.csv").write_bytes(TABLES["rows.csv"])
    assert is_image_input(".")
    assert is_image_input("*.png")
    assert not is_image_input("*.csv")
    assert open_images("*.png").names == ["a.png", "b.png"]
    assert open_images("a.png").names == ["a.png"]


def test_paths_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, text in [
        (tmp_path / "nothing", "no such file"),
        (tmp_path / "pipe", "is neither a file nor a folder"),
        (tmp_path / ("x" * 300), "cannot be read"),
        ("a\0b", "cannot be read"),
    ]:
        assert not is_image_input(path)
        with pytest.raises(InvalidInput, match=text):
            open_images(path)
    with pytest.raises(ConfigError, match="resize is '4', expected"):
        open_images(tmp_path, resize="4")


def test_what_is_asked_for_is_checked_for_every_kind(tmp_path):
    (tmp_path / "x.npy").write_bytes(IMAGES["x.npy"])
    with pytest.raises(ConfigError, match="layout is 'HW'"):
        open_images(tmp_path / "x.npy", layout="HW")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@given(
    name=st.sampled_from(sorted(IMAGES)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    head=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=3),
    end=st.one_of(st.none(), st.floats(0, 1)),
    extra=st.binary(max_size=3),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_bytes_raise_only_our_errors(folder, name, changes, head, end, extra):
    data = bytearray(IMAGES[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    for place, value in head:
        data[place] = value
    data = data[: len(data) if end is None else int(end * len(data))] + extra
    path = folder / "x"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        is_image_input(path)
        try:
            source = open_images(path)
            for batch in source.batches(4):
                assert batch.images.shape[1:] == source.shape.sizes
            source.sample(3)
        except InvalidInput as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - damage may also leave a good image
