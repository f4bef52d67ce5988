"""The options of images."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from anomaly_vae.cli.image_options import ImageOptions, image_options
from anomaly_vae.errors import ConfigError


def test_a_command_gets_the_options_as_one_argument():
    seen = []

    @click.command()
    @image_options
    def command(images):
        seen.append(images)

    CliRunner().invoke(command, ["--layout", "NCHW", "--resize", "4x5", "--image-column", "photo"])
    CliRunner().invoke(command, [])
    assert seen == [ImageOptions("NCHW", "4x5", "photo"), ImageOptions()]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (ImageOptions(layout="NHW"), "--layout"),
        (ImageOptions(resize="4x5"), "--resize"),
        (ImageOptions(column="x"), "--image-column"),
    ],
)
def test_tables_have_no_such_options(options, name):
    with pytest.raises(ConfigError, match=f"{name} is for images; the model scores rows"):
        options.refuse("the model scores rows")
    ImageOptions().refuse("anything")
