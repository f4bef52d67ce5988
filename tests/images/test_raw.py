"""Arrays of numpy.save and idx files."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.images import open_images
from anomaly_vae.images.raw import is_idx_start
from tests.support.array_attacks import ARRAYS
from tests.support.data import DATA

MNIST = DATA / "mnist" / "t10k-images-idx3-ubyte.gz"
RNG = np.random.default_rng(3)
COLOURS = RNG.integers(0, 256, (9, 8, 7, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def all_images(source, size=4):
    return np.concatenate([batch.images for batch in source.batches(size)])


def saved(folder, array, **options):
    np.save(folder / "x.npy", array)
    return open_images(folder / "x.npy", **options)


def idx(array):
    kind = array.dtype.str[1:]
    head = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(f">{kind}").tobytes()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[..., None]),
        (COLOURS, COLOURS),
        (np.moveaxis(COLOURS, 3, 1), COLOURS),
        (np.asfortranarray(COLOURS), COLOURS),
        (COLOURS.astype(">i4"), COLOURS),
        (COLOURS.astype("f8"), COLOURS),
        (COLOURS / 255, COLOURS / 255),
        (GREY > 99, (GREY[..., None] > 99) * 255),
        (GREY.astype("u2") * 16, GREY[..., None].astype("u2") * 16),
    ],
)
def test_arrays_of_all_types_and_layouts(tmp_path, array, expected):
    source = saved(tmp_path, array)
    assert len(source) == 9
    assert source.names[8] == "8"
    assert source.shape.sizes == expected.shape[1:]
    images = all_images(source)
    assert images.dtype == source.dtype == (np.uint8 if source.shape.depth == "uint8" else np.float64)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(source.rows([8, 2]), expected[[8, 2]].reshape(2, -1))


def test_the_range_of_values_is_part_of_the_shape(tmp_path):
    def found(array):
        shape = saved(tmp_path, array).shape
        return shape.depth, shape.low, shape.high

    assert found(GREY) == ("uint8", 0, 255)
    assert found(GREY.astype("f4")) == ("uint8", 0, 255)
    assert found(GREY / 255) == ("float", 0, 1)
    assert found(GREY.astype("i2") - 5)[0] == "float"


def test_missing_pixels_stay_missing(tmp_path):
    array = GREY.astype("f4")
    array[3, 2, 1] = np.nan
    source = saved(tmp_path, array)
    assert (source.shape.depth, source.dtype) == ("uint8", np.float64)
    assert np.argwhere(np.isnan(all_images(source))).tolist() == [[3, 2, 1, 0]]
    with pytest.raises(InvalidInput, match="all values are missing or infinite"):
        saved(tmp_path, np.full((2, 8, 8), np.nan))


def test_layouts_and_channels_can_be_named(tmp_path):
    odd = np.zeros((9, 3, 8, 3), np.uint8)
    with pytest.raises(InvalidInput, match=r"name it: layout="):
        saved(tmp_path, odd)
    assert saved(tmp_path, odd, layout="NCHW").shape.sizes == (8, 3, 3)
    with pytest.raises(InvalidInput, match=r"has 3 channels, channels=1 was asked for"):
        saved(tmp_path, odd, layout="NCHW", channels=1)


def test_arrays_are_resized_if_asked_for(tmp_path):
    source = saved(tmp_path, np.full((3, 200, 300), 77, np.uint8), resize=(10, 12))
    assert source.shape.sizes == (10, 12, 1)
    assert source.shape.resized
    assert (all_images(source) == 77).all()
    with pytest.raises(InvalidInput, match=r"have 60000 values, expected at most 16384.*--resize 104x156"):
        saved(tmp_path, np.zeros((3, 200, 300), np.uint8))


@pytest.mark.parametrize("array", [np.zeros((0, 8, 8)), np.zeros((3, 0, 8)), np.zeros((5, 8))])
def test_arrays_without_images_are_refused(tmp_path, array):
    with pytest.raises(InvalidInput, match=r"holds no images|expected images with the axes"):
        saved(tmp_path, array)


@pytest.mark.parametrize("attack", ARRAYS)
def test_attacks_by_arrays_are_refused_or_are_numbers(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.npy").write_bytes(ARRAYS[attack])
    try:
        open_images("x.npy").rows([0])
    except InvalidInput as error:
        assert str(error).startswith("x.npy: ")  # noqa: PT017 - some attacks on bundles are good images
    assert not Path("executed").exists()


def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_not_a_crash(tmp_path):
    source = saved(tmp_path, COLOURS)
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(700)
    with pytest.raises(InvalidInput, match=r"x\.npy: is cut off in image 3 of 9"):
        all_images(source)
    with pytest.raises(InvalidInput, match=r"is cut off in image 8 of 9"):
        source.rows([8])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_idx_files_of_all_types(tmp_path, kind, compressed):
    array = (GREY // 2).astype(kind)
    data = idx(array)
    (tmp_path / "x").write_bytes(gzip.compress(data) if compressed else data)
    source = open_images(tmp_path / "x")
    assert source.has_cheap_rows != compressed
    np.testing.assert_array_equal(all_images(source)[..., 0], array)
    np.testing.assert_array_equal(source.rows([8, 2, 8]), array[[8, 2, 8]].reshape(3, -1))
    np.testing.assert_array_equal(source.sample(3), array[[0, 3, 6]].reshape(3, -1))


def test_idx_files_with_colours(tmp_path):
    (tmp_path / "x").write_bytes(idx(np.moveaxis(COLOURS, 3, 1)))
    np.testing.assert_array_equal(all_images(open_images(tmp_path / "x")), COLOURS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data[:-1], "cut off|has 519 bytes, expected 520"),
        (lambda data: data + b"\0", "has more bytes than|has 521 bytes"),
        (lambda data: data[:9], "cut off within its header"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "expected|cut off"),
        (lambda data: idx(np.zeros(9, np.uint8)), "such as labels, expected images"),
        (lambda data: b"\0\0\x08\x03" + bytes(12), "holds no images"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, change, text, compressed):
    data = change(idx(GREY))
    (tmp_path / "x").write_bytes(gzip.compress(data) if compressed else data)
    with pytest.raises(InvalidInput, match=f"/x: .*({text})"):
        all_images(open_images(tmp_path / "x"))


def test_damaged_gzip_is_refused(tmp_path):
    data = gzip.compress(idx(GREY))
    (tmp_path / "x").write_bytes(data[:-12])
    with pytest.raises(InvalidInput, match="the gzip data are cut off or damaged"):
        all_images(open_images(tmp_path / "x"))


def test_a_gzip_bomb_is_refused_after_the_bytes_that_its_header_states(tmp_path):
    """1 GB of zeros behind 9 images: one more byte is read, not all."""
    import tracemalloc

    packed = gzip.compress(idx(GREY)) + gzip.compress(bytes(2**26)) * 16
    (tmp_path / "x").write_bytes(packed)
    source = open_images(tmp_path / "x")
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="has more bytes than"):
        all_images(source)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_first_bytes_of_idx():
    assert is_idx_start(b"\0\0\x08\x03")
    for other in (b"", b"\0\0\x08", b"\0\0\x0a\x03", b"\0\1\x08\x03", b"\0\0\x08\0"):
        assert not is_idx_start(other)


@pytest.mark.skipif(not MNIST.exists(), reason=f"no {MNIST}: set ANOMALY_VAE_DATA")
def test_mnist():
    source = open_images(MNIST)
    assert (len(source), source.shape.sizes) == (10_000, (28, 28, 1))
    expected = np.frombuffer(gzip.decompress(MNIST.read_bytes())[16:], np.uint8).reshape(10_000, 28, 28, 1)
    np.testing.assert_array_equal(all_images(source, 999), expected)


PROGRAM = """
import resource, sys
import numpy as np
from anomaly_vae.images import open_images

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

before = peak()
source = open_images(sys.argv[1])
total = sum(int(batch.images.sum()) for batch in source.batches())
rows = source.rows([0, len(source) - 1])
source.sample(100)
print(len(source), total, int(rows.sum()), peak() - before)
"""


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_needs_little_memory(tmp_path, order):
    """1 GiB, or 256 MiB, nearly all of it a hole in the file, which needs no disk."""
    path = tmp_path / "x.npy"
    shape = (2**16, 128, 128) if order == "C" else (2**14, 128, 128)
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape, fortran_order=order == "F")
    array[-1, 5, 5] = 7
    del array
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True)
    count, total, rows, mebibytes = done.stdout.split()
    assert (int(count), int(total), int(rows)) == (shape[0], 7, 7)
    assert float(mebibytes) < 100
