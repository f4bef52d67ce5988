"""The options of training set parameters of TrainConfig, or say how images are read."""

from __future__ import annotations

from dataclasses import fields

import pytest

from anomaly_vae.cli import cli
from anomaly_vae.cli.image_training import ImageOptions
from anomaly_vae.cli.training_options import image_options, model_options, window_options
from anomaly_vae.training.config import TrainConfig
from tests.support.command_line import in_process, one_line


def names_of(decorate):
    import click

    @decorate
    def command():
        """Take options."""

    return {each.name for each in click.command(command).params}


def test_every_option_is_a_parameter():
    """``ensemble`` and ``hidden`` are texts that the command converts."""
    known = {field.name for field in fields(TrainConfig)}
    assert names_of(model_options) <= known
    assert names_of(window_options) == {"window", "stride", "timestamp", "series"}
    assert names_of(image_options) == {"layout", "resize", "channels", "image_column"}
    assert set(ImageOptions._fields) == {"layout", "resize", "channels", "column"}


def test_every_parameter_that_a_user_sets_often_is_an_option():
    """The others are keys of a configuration file."""
    shown = {each.name for each in cli.get_command(None, "train").params}
    assert {field.name for field in fields(TrainConfig)} - shown == {"normalisation"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--window", "wide"], "'wide' is neither a number of steps nor 'auto'"),
        (["--window", "1"], "window must be a whole number between 2 and"),
        (["--resize", "64"], "resize is '64', expected HEIGHTxWIDTH in pixels, such as 64x48"),
        (["--layout", "HWN"], "'HWN' is not one of"),
        (["--architecture", "conv3d"], "'conv3d' is not one of"),
        (["--dropout", "1"], "1.0 is not in the range"),
        (["--stride", "2"], "timestamp, series and stride are for windows of time series: set window"),
        (["--window", "8", "--architecture", "conv2d"], "architecture 'conv2d' is for images"),
    ],
)
def test_values_that_are_not_possible_are_refused(options, part, tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    one_line(in_process("train", tmp_path / "t.csv", "-o", tmp_path / "m", *options), 2, part)
