"""``anomaly-vae encode`` for models of series and of images."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.scorer import load
from anomaly_vae.series.grid import make_panel
from anomaly_vae.series.windows import all_windows, window_rows
from tests.support.command_line import cli, one_line, read_csv
from tests.support.conv_models import LENGTH, grey_images, image_bundle, series_bundle, series_table, write_table


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_bundle(series_bundle(), folder / "series")
    write_bundle(image_bundle(), folder / "image")
    return folder


def test_each_row_of_series_has_the_position_of_the_window_that_ends_there(models, tmp_path):
    table = series_table(50, seed=5)
    chosen = [i for i, host in enumerate(table["host"]) if host == "alpha"]
    table = {name: [cells[i] for i in chosen] for name, cells in table.items()}
    write_table(tmp_path / "in.csv", table)
    done = cli(tmp_path, "encode", models / "series", "in.csv", "-o", "-", "--keep", "ts", "--plot", "map.png")
    rows, scorer = read_csv(done.stdout), load(models / "series")
    values = np.array([table["flow"], table["load"]], dtype=float).T
    segments = make_panel(values[: len(rows)]).segments(LENGTH)
    assert len(rows) == len(table["ts"])
    assert list(rows[0])[:2] == ["ts", "z0"]
    assert [bool(row["z0"]) for row in rows[: LENGTH + 1]] == [False] * (LENGTH - 1) + [True] * 2
    means = scorer.encode_rows(window_rows(segments, all_windows(segments, LENGTH)[:2], LENGTH))
    got = [[float(row[f"z{i}"]) for i in range(means.shape[1])] for row in rows[LENGTH - 1 : LENGTH + 1]]
    np.testing.assert_array_equal(got, means)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert f"{LENGTH} no window" in done.stderr  # the first steps, and one without a value


def test_each_image_has_a_position_and_its_name(models, tmp_path):
    np.save(tmp_path / "x.npy", grey_images(7))
    done = cli(tmp_path, "encode", models / "image", "x.npy", "-o", "-")
    rows, means = read_csv(done.stdout), load(models / "image").encode(grey_images(7))
    assert [row["image"] for row in rows] == [str(i) for i in range(7)]
    np.testing.assert_array_equal([[float(row[f"z{i}"]) for i in range(means.shape[1])] for row in rows], means)


def test_input_that_does_not_fit_is_refused(models, tmp_path):
    write_table(tmp_path / "in.csv", series_table(30))
    np.save(tmp_path / "x.npy", grey_images(7))
    one_line(
        cli(tmp_path, "encode", models / "image", "in.csv", "-o", "-"), 2, "holds a table, the model scores images"
    )
    one_line(cli(tmp_path, "encode", models / "series", "x.npy", "-o", "-"), 2, "holds images")
    one_line(cli(tmp_path, "encode", models / "image", "x.npy", "-o", "-", "--keep", "a"), 2, "--keep is for tables")
