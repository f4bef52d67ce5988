"""Columns of encoded images."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
from PIL import Image

from anomaly_vae.errors import AnomalyVaeWarning, InvalidInput
from anomaly_vae.images import is_image_input, open_images
from anomaly_vae.images.encoded import image_columns, is_columnar_start

IMAGES = np.random.default_rng(4).integers(0, 256, (80, 6, 5, 3), dtype=np.uint8)


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


CELLS = [encoded(image) for image in IMAGES]
HUGGING = [{"bytes": cell, "path": f"{i}.png"} for i, cell in enumerate(CELLS)]


def written(path, table):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=50)
    else:
        pyarrow.feather.write_feather(table, path, chunksize=50)
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
@pytest.mark.parametrize(
    "cells",
    [pa.array(CELLS), pa.array(CELLS, pa.large_binary()), pa.array(HUGGING)],
    ids=["binary", "large binary", "struct"],
)
def test_the_column_of_images_is_found_and_read(tmp_path, name, cells):
    table = pa.table({"label": list(range(80)), "raw": [b"abc"] * 80, "image": cells})
    path = written(tmp_path / name, table)
    assert image_columns(path, "t") == ["image"]
    source = open_images(path)
    assert (len(source), source.shape.sizes, source.names[79]) == (80, (6, 5, 3), "79")
    assert not source.has_cheap_rows
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in source.batches(33)]), IMAGES)
    np.testing.assert_array_equal(source.rows([70, 3]), IMAGES[[70, 3]].reshape(2, -1))


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_missing_and_damaged_cells_are_faults(tmp_path, name):
    cells = [None, {"bytes": None, "path": "a.png"}, {"bytes": b"text", "path": None}, *HUGGING[3:]]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    source = open_images(written(tmp_path / name, pa.table({"image": pa.array(cells, kind)})))
    with pytest.warns(AnomalyVaeWarning, match="3 of 80 images cannot be read"):
        batch = next(iter(source.batches(4))), list(source.batches())
    assert batch[0].faults == [
        "is missing",
        "names the file 'a.png' and holds no bytes",
        "is damaged: it is neither PNG nor JPEG",
        None,
    ]
    np.testing.assert_array_equal(batch[0].images[3], IMAGES[3])


def test_one_of_several_columns_must_be_named(tmp_path):
    path = written(tmp_path / "t.parquet", pa.table({"a": CELLS, "b": CELLS[::-1], "c": list(range(80))}))
    with pytest.raises(InvalidInput, match="several columns of images: a, b; name one"):
        open_images(path)
    np.testing.assert_array_equal(open_images(path, column="b").rows([0]), IMAGES[79:].reshape(1, -1))
    with pytest.raises(InvalidInput, match="has no column 'd'; it has a, b, c"):
        open_images(path, column="d")
    with pytest.raises(InvalidInput, match="column 'c' is of type int64, expected encoded images"):
        open_images(path, column="c")


def test_tables_without_images_are_refused(tmp_path):
    for cells in ([b"text"] * 3, [1, 2, 3], pa.array([None] * 3, pa.binary())):
        path = written(tmp_path / "t.parquet", pa.table({"a": cells}))
        assert image_columns(path, "t") == []
        with pytest.raises(InvalidInput, match="holds no column of PNG or JPEG images"):
            open_images(path)
    with pytest.raises(InvalidInput, match="column 'a' holds no image that can be read; row 0: is missing"):
        open_images(path, column="a")


def test_sizes_must_agree_or_be_made_so(tmp_path):
    path = written(tmp_path / "t.parquet", pa.table({"a": [CELLS[0], encoded(IMAGES[0, :3])]}))
    with pytest.raises(InvalidInput, match=r"1 of 3x5 with 3 channels \(row 1\); --resize 6x5"):
        open_images(path)
    assert open_images(path, resize=(3, 3)).shape.sizes == (3, 3, 3)


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_damaged_files_are_refused(tmp_path, name):
    path = written(tmp_path / name, pa.table({"a": CELLS}))
    assert is_columnar_start(path.read_bytes()[:8])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match="damaged, or neither Parquet nor Arrow"):
        open_images(path)


def test_a_folder_of_tables_is_read_in_the_order_of_names(tmp_path):
    """Data sets of Hugging Face are folders of such parts, with a README beside them."""
    (tmp_path / "README.md").touch()
    written(tmp_path / "part-1.parquet", pa.table({"a": CELLS[50:]}))
    written(tmp_path / "part-0.parquet", pa.table({"a": CELLS[:50]}))
    for path in (tmp_path, tmp_path / "part-*"):
        assert is_image_input(path)
        source = open_images(path)
        np.testing.assert_array_equal(np.concatenate([batch.images for batch in source.batches(33)]), IMAGES)
        np.testing.assert_array_equal(source.rows([70, 3]), IMAGES[[70, 3]].reshape(2, -1))
    written(tmp_path / "part-2.parquet", pa.table({"b": CELLS[:50]}))
    with pytest.raises(InvalidInput, match=r"part-2\.parquet: has no column 'a'; it has b"):
        open_images(tmp_path)
    written(tmp_path / "part-0.parquet", pa.table({"a": [1]}))
    assert not is_image_input(tmp_path)


def test_an_arrow_file_that_points_outside_of_itself_is_refused(tmp_path):
    """Arrow trusts offsets: without a check the process would read memory that is not its own."""
    path, table = tmp_path / "t.arrow", pa.table({"a": CELLS[:20]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    offsets = np.cumsum([0, *map(len, CELLS[:20])], dtype=np.int32)
    wrong = offsets.copy()
    wrong[-1] += 10_000
    assert offsets.tobytes() in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(offsets.tobytes(), wrong.tobytes()))
    with pytest.raises(InvalidInput, match="damaged, or neither Parquet nor Arrow"):
        open_images(path)
