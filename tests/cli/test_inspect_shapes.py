"""What inspect says about windows and images."""

from __future__ import annotations

import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.cli.inspect_shapes import channel_rows, shape_facts
from anomaly_vae.columns.shapes import ImageShape, SeriesShape
from tests.support.batches import SCHEMA
from tests.support.command_line import cli
from tests.support.conv_models import image_bundle, series_bundle
from tests.support.shaped import schema_with

SHAPES = {
    "series": (
        SeriesShape(length=4, channels=("a", "b"), stride=3, step_seconds=60.0, timestamp="ts", series="host"),
        {
            "windows": "4 steps of 2 channels: a, b",
            "steps": "a step of 1 min, training windows start every 3 steps",
            "times": "column ts",
            "series": "named by column host",
        },
    ),
    "rows": (
        SeriesShape(length=2, channels=tuple("abcdefghij")),
        {
            "windows": "2 steps of 10 channels: a, b, c, d, e, f, g, h, ...",
            "steps": "each row of a table is a step, training windows start every 1 step",
        },
    ),
    "image": (ImageShape(height=3, width=4), {"images": "3 x 4 pixels with 1 channel, whole numbers from 0 to 255"}),
    "reals": (
        ImageShape(height=3, width=4, channels=3, depth="float", low=-1.0, high=1.0, resized=True),
        {"images": "3 x 4 pixels with 3 channels, values from -1 to 1, images of other sizes are resized"},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_said_in_words(name):
    shape, facts = SHAPES[name]
    assert shape_facts(schema_with(shape)) == facts


def test_tables_have_no_shape():
    assert shape_facts(SCHEMA) == {}
    assert channel_rows(SCHEMA, []) == []


def test_the_command_shows_channels_and_not_the_cells(tmp_path):
    write_bundle(series_bundle(), tmp_path / "series")
    write_bundle(image_bundle(), tmp_path / "image")
    count = series_bundle().manifest.training.num_rows
    text = cli(tmp_path, "inspect", "series").stdout
    for part in ("conv1d", "8 steps of 2 channels: flow, load", f"{count} windows", "8 continuous", "8 student_t"):
        assert part in text
    assert "flow[" not in text
    assert "year-month-day" in text
    text = cli(tmp_path, "inspect", "image").stdout
    assert "8 x 8 pixels with 1 channel" in text
    assert "64 integer" in text
    assert "y0x0" not in text
