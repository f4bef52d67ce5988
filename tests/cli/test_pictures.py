"""What pictures are given; the drawing itself is replaced."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae import plot
from anomaly_vae.batch import read_series, score_series
from anomaly_vae.cli import pictures
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError
from tests.support.served import scores_of
from tests.support.shaped_scorers import SumScorer, image_schema
from tests.support.tables import csv_table
from tests.support.windows import window_schema


@pytest.fixture
def drawn(monkeypatch):
    """Calls of anomaly_vae.plot, by the name of the function."""
    calls = {}
    for name in ("plot_series", "plot_images", "plot_latent", "plot_scores"):
        monkeypatch.setattr(plot, name, lambda *args, name=name, **more: calls.update({name: (args, more)}))
    return calls


def test_series_are_drawn_in_the_order_of_time_without_rows_without_one(drawn, tmp_path):
    schema = window_schema(2, ("a", "b"), timestamp="ts", series="host", step_seconds=60.0)
    text = (
        "ts,host,a,b\n2024-01-01 00:01:00,x,2,20\n2024-01-01 00:00:00,x,1,10\n,x,3,30\n"
        "2024-01-01 00:05:00,y,5,50\n2024-01-01 00:06:00,y,6,60\n"
    )
    series = read_series(csv_table(text), schema, "-")
    _, scores = score_series(SumScorer(schema), series, str(tmp_path / "out.csv"))
    pictures.draw_series(tmp_path / "x.png", series, scores, (-1.0, 2.0), title="t")
    (path, times, values, names, of_rows, threshold), more = drawn["plot_series"]
    assert (path, names, threshold) == (tmp_path / "x.png", ("a", "b"), -1.0)
    assert more == {"upper_threshold": 2.0, "title": "t", "names": ["x", "x", "y", "y"]}
    np.testing.assert_array_equal(values[:, 0], [1, 2, 5, 6])
    np.testing.assert_array_equal(of_rows.log_px, [np.nan, 33, np.nan, 121])
    minutes = np.array([0, 1, 5, 6], "timedelta64[m]")
    np.testing.assert_array_equal(times, np.datetime64("2024-01-01", "us") + minutes)


def test_series_without_dates_have_numbers(drawn, tmp_path):
    schema = window_schema(2, ("a",), timestamp="n", step_seconds=1.0)
    series = read_series(csv_table("n,a\n5,1\n6,2\n7,3\n"), schema, "-")
    _, scores = score_series(SumScorer(schema), series, str(tmp_path / "out.csv"))
    pictures.draw_series(tmp_path / "x.png", series, scores, (0.0, None))
    np.testing.assert_array_equal(drawn["plot_series"][0][1], [5.0, 6.0, 7.0])
    assert drawn["plot_series"][1]["names"] is None


def test_images_are_the_extremes_with_their_names(drawn, tmp_path):
    collected = pictures.ImageScores(tmp_path / "x.png")
    rng = np.random.default_rng(0)
    rows, scores = rng.integers(0, 256, size=(100, 6)).astype(float), scores_of(100)
    for start in (0, 40, 80):
        part = slice(start, start + 40)
        collected.add(list(range(100))[part], rows[part], scores[part])
    assert collected.mean_bits == pytest.approx(-scores.log_px.mean() / (6 * np.log(2)))
    scorer = SimpleNamespace(schema=image_schema(ImageShape(height=2, width=3)))
    collected.draw(scorer, [f"{i}.png" for i in range(100)], title="t")
    (path, images, of_images), more = drawn["plot_images"]
    expected = np.argsort(scores.score)[[*range(10), *range(90, 100)]]
    assert (path, images.shape) == (tmp_path / "x.png", (20, 2, 3, 1))
    np.testing.assert_array_equal(images.reshape(20, 6), rows[expected])
    np.testing.assert_array_equal(of_images.score, scores.score[expected])
    assert more["names"] == [f"{i}.png" for i in expected]
    assert more["reconstructions"] is more["samples"] is None  # a service gives neither


def test_without_a_path_nothing_is_drawn_and_bits_are_counted(drawn):
    collected = pictures.ImageScores(None)
    assert collected.mean_bits is None
    collected.add([0], np.zeros((1, 6)), scores_of(1))
    assert collected.mean_bits is not None
    collected.draw(None, [])
    table = pictures.TableScores(None)
    table.add(scores_of(3))
    table.draw((0.0, None))
    latents = pictures.Latents(None)
    latents.add(np.zeros((2, 2)))
    latents.draw()
    assert drawn == {}


def test_a_table_has_a_histogram_of_its_first_rows(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_ROWS", 50)
    collected, scores = pictures.TableScores(tmp_path / "x.png"), scores_of(100)
    for start in range(0, 100, 30):
        collected.add(scores[start : start + 30])
    collected.draw((0.0, 1.0))
    (path, shown, threshold), more = drawn["plot_scores"]
    assert (path, threshold, more) == (tmp_path / "x.png", 0.0, {"upper_threshold": 1.0})
    np.testing.assert_array_equal(shown.score, scores.score[:60])


def test_many_latent_dimensions_are_projected_to_the_first_two_principal_directions(drawn, tmp_path):
    """The variance along the axes is that of an eigendecomposition; the sign does not depend on the machine."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(500, 4)) * [1.0, 5.0, 0.1, 3.0]
    latents = pictures.Latents(tmp_path / "x.png")
    latents.add(means[:200])
    latents.add(means[200:])
    latents.draw(title="t")
    (_, points), more = drawn["plot_latent"]
    assert abs(np.corrcoef(points[:, 0], means[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(points[:, 1], means[:, 3])[0, 1]) > 0.99
    share = (25 + 9) / (1 + 25 + 0.01 + 9)
    assert more["title"].startswith("t: the first two principal directions of 4 latent dimensions, ")
    assert float(more["title"].split(", ")[1].split("%")[0]) == pytest.approx(100 * share, abs=2)


@pytest.mark.usefixtures("drawn")
def test_a_picture_that_cannot_be_drawn_is_refused_before_any_work(tmp_path, monkeypatch):
    pictures.check_plot(None, overwrite=False)
    pictures.check_plot(tmp_path / "x.png", overwrite=False)
    with pytest.raises(ConfigError, match=r"x\.jpg: pictures are files with the ending \.png"):
        pictures.check_plot(tmp_path / "x.jpg", overwrite=False)
    with pytest.raises(ConfigError, match="--plot shows scores, and --flag-only gives none"):
        pictures.check_plot(tmp_path / "x.png", overwrite=False, flag_only=True)
    (tmp_path / "x.png").write_text("theirs")
    with pytest.raises(ConfigError, match="exists already"):
        pictures.check_plot(tmp_path / "x.png", overwrite=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"--plot needs matplotlib: pip install 'anomaly_vae\[train\]'"):
        pictures.check_plot(tmp_path / "x.png", overwrite=True)
