"""Scores of images with a scorer whose scores are known."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import FLAG_SCHEMA, OUTPUT_SCHEMA, Explaining, score_images
from anomaly_vae.batch.image_scoring import bits_per_dim
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.images import open_images
from anomaly_vae.score_options import ScoreOptions
from tests.support.shaped_scorers import SumScorer, image_schema

Image = pytest.importorskip("PIL.Image")

SHAPE = ImageShape(height=2, width=5)
SCHEMA = image_schema(SHAPE)


@pytest.fixture
def folder(tmp_path):
    """Three images of one value, and one that is cut off."""
    path = tmp_path / "photos"
    path.mkdir()
    for name, value in {"a": 3, "b": 200, "d": 10}.items():
        Image.fromarray(np.full((2, 5), value, np.uint8)).save(path / f"{name}.png")
    (path / "c.png").write_bytes((path / "a.png").read_bytes()[:50])
    return path


def scored(tmp_path, source, schema=SCHEMA, **options):
    path = tmp_path / "out.parquet"
    summary = score_images(SumScorer(schema), open_images(source), str(path), overwrite=True, **options)
    return pq.read_table(path), summary


@pytest.mark.filterwarnings("ignore:.*1 of 4 images cannot be read")
def test_every_image_comes_out_with_its_name_and_scores_or_a_reason(tmp_path, folder):
    seen = []
    table, summary = scored(tmp_path, folder, on_scored=lambda numbers, rows, scores: seen.append((numbers, rows)))
    assert table.column_names == ["image", *OUTPUT_SCHEMA.names, "bits_per_dim"]
    assert table["image"].to_pylist() == ["a.png", "b.png", "c.png", "d.png"]
    assert table["log_px"].to_pylist() == [30.0, 2000.0, None, 100.0]
    np.testing.assert_allclose(
        table["bits_per_dim"].to_pylist()[:2], [-30 / (10 * np.log(2)), -2000 / (10 * np.log(2))]
    )
    assert table["bits_per_dim"].to_pylist()[2] is None
    assert table["reason"].to_pylist()[2].startswith("the image is damaged: ")
    assert (summary.rows, dict(summary.unscored)) == (4, {"unreadable": 1})
    assert summary.most_anomalous_row == 1
    ((numbers, rows),) = seen
    assert numbers == [0, 1, 3]
    np.testing.assert_array_equal(rows[:, 0], [3, 200, 10])


@pytest.mark.filterwarnings("ignore:.*1 of 4 images cannot be read")
def test_flags_alone_and_the_top_images(tmp_path, folder):
    table, _ = scored(tmp_path, folder, options=ScoreOptions(flag_only=True))
    assert table.column_names == ["image", *FLAG_SCHEMA.names]
    assert table["num_samples"].to_pylist() == [16, 16, None, 16]
    table, summary = scored(tmp_path, folder, top=2)
    assert table["row"].to_pylist() == [1, 4]
    assert table["image"].to_pylist() == ["a.png", "d.png"]
    assert summary.written == 2


def test_many_images_of_an_array_are_scored_batch_by_batch(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, size=(600, 2, 5), dtype=np.uint8)
    np.save(tmp_path / "x.npy", values)
    counts = []
    seen = []
    table, summary = scored(
        tmp_path,
        tmp_path / "x.npy",
        on_batch=lambda summary: counts.append(summary.rows),
        on_scored=lambda numbers, _rows, _scores: seen.extend(numbers),
    )
    assert seen == list(range(600))
    assert table["log_px"].to_pylist() == values.reshape(600, -1).sum(axis=1).tolist()
    assert table["image"].to_pylist() == [str(i) for i in range(600)]
    assert (counts, summary.most_anomalous_row) == ([256, 512, 600], int(values.sum(axis=(1, 2)).argmin()) + 1)


def test_a_contrast_comes_last(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2, 5), np.uint8))
    path, scorer = tmp_path / "out.parquet", SumScorer(SCHEMA, has_contrast=True)
    score_images(scorer, open_images(tmp_path / "x.npy"), str(path))
    table = pq.read_table(path)
    assert table.column_names[-3:] == ["score", "bits_per_dim", "contrast"]
    assert table["contrast"].to_pylist() == [-10.0] * 3


def test_bits_per_dimension_count_the_pixels_that_are_present():
    r"""The exact value of a uniform p: 8 bits for each pixel of 256 values, whatever is missing."""
    rows = np.zeros((3, 10))
    rows[1, :4] = rows[2] = np.nan
    log_px = -np.log(256.0) * np.array([10, 6, 0])
    np.testing.assert_allclose(bits_per_dim(log_px, rows), [8.0, 8.0, np.nan])


def test_images_of_another_size_are_refused_before_the_output_opens(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(InvalidInput, match="images of 4 x 5 pixels with 1 channel, the model expects 2 x 5"):
        scored(tmp_path, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.zeros((3, 2, 5), np.uint8))
    with pytest.raises(ConfigError, match="num_samples must be 64"):
        scored(tmp_path, tmp_path / "x.npy", options=ScoreOptions(num_samples=17))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.filterwarnings("ignore:.*1 of 4 images cannot be read")
def test_images_are_explained_in_their_places(tmp_path, folder):
    table, summary = scored(tmp_path, folder, explaining=Explaining(top=1, every=True))
    texts = [f"sum {total}: expected another value given the rest (1 nats)" for total in (30, 2000, 100)]
    assert table["why_1"].to_pylist() == [*texts[:2], None, texts[2]]
    assert summary.explained == 3
    assert scored(tmp_path, folder, explaining=Explaining(top=1))[0]["why_1"].null_count == 4  # none is flagged
