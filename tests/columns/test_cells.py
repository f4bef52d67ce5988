"""Columns of windows and images: one kind for all cells of a channel."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.cells import channel_of_cell, channel_values, plan_cells
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, cell_names
from anomaly_vae.errors import ConfigError, InvalidInput


def window_rows(rng, shape, n=40):
    return rng.normal(size=(n, *shape.sizes))


def test_all_cells_of_a_channel_have_its_kind():
    rng, shape = np.random.default_rng(0), SeriesShape(length=6, channels=("load", "valve", "count"))
    rows = window_rows(rng, shape)
    rows[:, :, 1] = rng.integers(0, 2, size=(40, 6))
    rows[:, :, 2] = 2 * rng.integers(0, 9, size=(40, 6))
    schema = plan_cells(shape, rows.reshape(40, -1))
    assert schema.column_names == cell_names(shape)
    kinds = [schema.columns[d].kind for d in range(18)]
    assert kinds == ["continuous", "binary", "integer"] * 6
    assert {schema.columns[d].step for d in range(2, 18, 3)} == {2.0}
    assert [channel_of_cell(shape, d) for d in range(5)] == [0, 1, 2, 0, 1]


def test_kinds_of_channels_can_be_set():
    shape = SeriesShape(length=4, channels=("a",))
    rows = np.random.default_rng(0).integers(0, 9, size=(30, 4)).astype(float)
    assert plan_cells(shape, rows, {"a": "continuous"}).columns[0].kind == "continuous"
    with pytest.raises(ConfigError, match=r"\[columns\] a = 'binary'"):
        plan_cells(shape, rows, {"a": "binary"})


def test_pixels_of_files_are_on_the_grid_of_bytes():
    """Also where the training images have few levels: 3 grey values do not make a step of 100."""
    shape = ImageShape(height=2, width=3)
    rows = np.random.default_rng(0).choice([0.0, 100.0, 200.0], size=(50, 6))
    column = plan_cells(shape, rows).columns[0]
    assert (column.kind, column.step, column.origin) == ("integer", 1.0, 0.0)
    assert plan_cells(shape, (rows > 0).astype(float)).columns[0].kind == "binary"
    floats = ImageShape(height=2, width=3, depth="float", high=1.0)
    assert plan_cells(floats, rows / 255 + np.random.default_rng(1).random((50, 6))).columns[0].kind == "continuous"


def test_values_of_a_channel_leave_out_missing_cells():
    shape = SeriesShape(length=5, channels=("a", "b"))
    rows = np.arange(60.0).reshape(6, 10)
    rows[0, 1] = np.nan
    assert channel_values(shape, rows, 0).tolist() == [v for r in range(6) for v in (10.0 * r, 10.0 * r + 8)]
    assert channel_values(shape, rows, 1).tolist()[0] == 9.0
    image = ImageShape(height=5, width=2)
    assert sorted(channel_values(image, np.nan_to_num(rows), 0).tolist()) == sorted(
        np.nan_to_num(rows).ravel().tolist()
    )


def test_constant_images_are_refused():
    with pytest.raises(InvalidInput, match="nothing to model"):
        plan_cells(ImageShape(height=2, width=2), np.full((20, 4), 7.0))


def test_a_constant_window_is_refused():
    with pytest.raises(InvalidInput, match="nothing to model"):
        plan_cells(SeriesShape(length=3, channels=("a",)), np.ones((20, 3)))


def test_all_steps_show_the_kind_of_a_channel_where_windows_share_few():
    """The first and the last step of a day are at night: in between, a lamp is on and a count is no multiple of 10."""
    rows = np.zeros((30, 8, 2))
    rows[:, 2:6, 0], rows[:, :, 1] = 1.0, 10.0
    rows[:, 3, 1] = np.arange(30)
    shape = SeriesShape(length=8, channels=("lamp", "count"), stride=8)
    schema = plan_cells(shape, rows.reshape(30, -1))
    assert [(column.kind, column.step) for column in schema.columns[:2]] == [("binary", None), ("integer", 1.0)]
    some = SeriesShape(length=8, channels=("lamp", "count"), stride=3)
    assert channel_values(some, rows.reshape(30, -1), 0).tolist() == [0.0, 0.0, 1.0, 0.0] * 30


def test_an_empty_channel_is_named_with_the_number_of_windows():
    rows = np.full((30, 2), np.nan)
    with pytest.raises(InvalidInput, match="channel 'a' has no value in the 30 training windows; leave it out"):
        plan_cells(SeriesShape(length=2, channels=("a",)), rows)
