"""``anomaly-vae train`` on images of every format, from files to a model."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest

from anomaly_vae.scorer import load
from tests.support.command_line import in_process, one_line

OPTIONS = ["--max-steps", "40", "--search", "off", "--target-fpr", "0.1"]


def pixels(n, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 60, size=(n, 6, 7), dtype=np.uint8)
    found[np.arange(n), :, rng.integers(7, size=n)] += 180
    return found


def png(image):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one damaged file, an idx file, an array, and a column with marked anomalies."""
    path = tmp_path_factory.mktemp("images")
    images = pixels(120)
    (path / "photos").mkdir()
    for i, image in enumerate(images):
        (path / "photos" / f"{i:03d}.png").write_bytes(png(image))
    (path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    (path / "a.idx").write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">III", *images.shape) + images.tobytes())
    np.save(path / "a.npy", images / 255.0)
    odd = [0] * 110 + [1] * 9 + [None]
    cells = [png(255 - image if mark else image) for image, mark in zip(images, odd, strict=True)]
    table = pa.table({"image": pa.array(cells, pa.binary()), "odd": odd, "id": range(120)})
    pa.parquet.write_table(table, path / "a.parquet")
    (path / "t.csv").write_text("a,b\n1,2\n")
    return path


@pytest.mark.parametrize(("name", "depth"), [("photos", "uint8"), ("a.idx", "uint8"), ("a.npy", "float")])
def test_images_of_every_format_give_a_model(files, tmp_path, name, depth):
    done = in_process("train", files / name, "-o", tmp_path / "m", *OPTIONS)
    assert done.returncode == 0, done.stderr
    shape = load(tmp_path / "m").schema.shape
    assert (*shape.sizes, shape.depth, shape.resized) == (6, 7, 1, depth, False)
    assert "trained on 84 images of 6 x 7 pixels x 1 channel, best at step " in done.stderr
    assert " bits per dimension)" in done.stderr
    assert "nats from 24 calibration images, false-positive rate at most 0.08" in done.stderr
    assert ("1 of 121 images cannot be read, such as broken.png" in done.stderr) == (name == "photos")


def test_a_label_beside_images_in_parquet(files, tmp_path):
    done = in_process("train", files / "a.parquet", "-o", tmp_path / "m", "--label", "odd", *OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["rows"] + 11 + 22 == 110
    assert facts["auroc"] > 0.95
    assert facts["image"] == {"height": 6, "width": 7, "channels": 1, "depth": "uint8"}
    assert facts["columns"] == [{"name": "channel 0", "kind": "integer"}]
    assert facts["bits_per_dim"] == pytest.approx(-facts["held_out_elbo"] / (42 * np.log(2.0)))
    assert "1 of 120 rows have no value in odd; they are left out" in done.stderr


def test_images_are_resized_and_the_model_knows_it(files, tmp_path):
    options = ["--resize", "3x4", "--image-column", "image"]
    done = in_process("train", files / "a.parquet", "-o", tmp_path / "m", *options, *OPTIONS)
    assert done.returncode == 0, done.stderr
    shape = load(tmp_path / "m").schema.shape
    assert (*shape.sizes, shape.resized) == (3, 4, 1, True)


def test_grey_and_coloured_files_are_made_of_one_kind(files, tmp_path):
    (tmp_path / "mixed").mkdir()
    for i, image in enumerate(pixels(40)):
        coloured = image if i % 2 else np.repeat(image[..., None], 3, axis=2)
        (tmp_path / "mixed" / f"{i}.png").write_bytes(png(coloured))
    one_line(in_process("train", tmp_path / "mixed", "-o", tmp_path / "m"), 2, "--channels 1 or --channels 3")
    done = in_process("train", tmp_path / "mixed", "-o", tmp_path / "m", "--channels", "1", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "m").schema.shape.sizes == (6, 7, 1)
    calibrated = in_process("calibrate", tmp_path / "m", tmp_path / "mixed", "-o", tmp_path / "n")
    assert calibrated.returncode == 0, calibrated.stderr


REFUSED = {
    "window": ("photos", ["--window", "8"], "holds images; --window (and the architecture conv1d) is for time series"),
    "conv1d": ("photos", ["--architecture", "conv1d"], "holds images; --window (and the architecture conv1d)"),
    "label of a folder": ("photos", ["--label", "odd"], "has no columns; only images in Parquet or Arrow files have"),
    "label of an array": ("a.npy", ["--label", "odd"], "has no columns"),
    "no such label": ("a.parquet", ["--label", "x"], "--label x: "),
    "no such column": ("a.parquet", ["--image-column", "x"], "has no column 'x'; it has image, odd, id"),
    "columns": ("photos", ["--columns", "a"], "--columns and --exclude are for tables, and INPUT"),
    "layout": ("a.npy", ["--layout", "NHWC"], "expected 4 axes for layout='NHWC'"),
    "table": ("t.csv", ["--resize", "3x4"], "--resize is for images, and INPUT"),
    "table with channels": ("t.csv", ["--channels", "1"], "--channels is for images, and INPUT"),
    "table with layout": ("t.csv", ["--layout", "NHW"], "--layout is for images, and INPUT"),
    "table with convolutions": ("t.csv", ["--architecture", "conv2d"], "architecture 'conv2d' is for images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_do_not_fit_are_one_line(files, tmp_path, case):
    name, options, part = REFUSED[case]
    one_line(in_process("train", files / name, "-o", tmp_path / "m", *options), 2, part)
    assert not (tmp_path / "m").exists()


def test_images_of_which_all_are_marked_are_refused(tmp_path):
    table = pa.table({"image": pa.array([png(image) for image in pixels(5)], pa.binary()), "odd": [1] * 5})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    done = in_process("train", tmp_path / "a.parquet", "-o", tmp_path / "m", "--label", "odd")
    one_line(done, 2, "holds no images to train on")
