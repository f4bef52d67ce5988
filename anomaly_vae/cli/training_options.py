"""The options of ``anomaly-vae train`` for the model, for time series and for images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from anomaly_vae.cli import options
from anomaly_vae.errors import ConfigError
from anomaly_vae.record import TAILS
from anomaly_vae.training.config import LIKELIHOODS

__all__ = ["image_options", "model_options", "window_options"]


class _Window(click.ParamType[int | str]):
    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Take a number of steps or "auto"."""
        if str(value) == "auto":
            return "auto"
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number of steps nor 'auto'", param, ctx)


class _Size(click.ParamType[tuple[int, int]]):
    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Take height and width such as 64x48."""
        from anomaly_vae.images.decoding import check_resize  # needs pyarrow

        try:
            size = check_resize(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        if size is None:
            self.fail("expected HEIGHTxWIDTH in pixels, such as 64x48", param, ctx)
        return size


_MODEL = (
    click.option("--target-fpr", type=options.Rate, help="Share of normal rows that may be flagged.  [default: 0.01]"),
    click.option(
        "--tail",
        type=click.Choice(["auto", *TAILS]),
        help="low: rows with a low score are anomalies. both: also those with a higher score than normal rows have; "
        "each side gets half of the target.  [default: auto, both for images and low for tables and series]",
    ),
    click.option(
        "--contrast",
        type=click.Choice(["auto", "on", "off"]),
        help="For images: add a second score from a classifier that tells them from corrupted ones; it shares the "
        "target.  [default: auto, on for 100 images or more]",
    ),
    click.option(
        "--seed",
        "random_state",
        type=click.IntRange(0, 2**32 - 1),
        help="The same seed gives the same model on one machine.  [default: 0]",
    ),
    click.option(
        "--latent-dim",
        type=click.IntRange(1, 1024),
        help="Number of latent dimensions.  [default: from the number of columns, less those that the model leaves "
        "unused]",
    ),
    click.option(
        "--hidden", help="Widths of the hidden layers, such as 128,128.  [default: from the number of columns]"
    ),
    click.option(
        "--architecture",
        type=click.Choice(["auto", "mlp", "conv1d", "conv2d"]),
        help="Kind of network: mlp, or convolutions over the steps of a window (conv1d) or the pixels of an image "
        "(conv2d).  [default: auto, by the data]",
    ),
    click.option(
        "--residual/--no-residual", default=None, help="Whether convolutions have residual blocks.  [default: no]"
    ),
    click.option(
        "--dropout",
        type=click.FloatRange(0.0, 0.9),
        help="Share of channels that a training step drops in the encoder, with convolutions.  [default: 0]",
    ),
    click.option(
        "--search",
        type=click.Choice(["off", "fast", "full"]),
        help="Settings to try: off: one; fast: two, scored as an ensemble; full: up to seven.  [default: fast]",
    ),
    click.option("--ensemble", type=click.Choice(["1", "2", "4", "8", "16"]), help="Number of models in the ensemble."),
    click.option(
        "--likelihood",
        type=click.Choice(LIKELIHOODS),
        help="Distribution p(x|z) of columns of numbers.  [default: auto]",
    ),
    click.option(
        "--prior",
        type=click.Choice(["auto", "normal", "mixture"]),
        help="p(z): N(0, I), or a mixture of Gaussians that is learned.  [default: auto, the mixture]",
    ),
    click.option(
        "--decoder-variance",
        type=click.Choice(["auto", "learned", "fixed", "conditional"]),
        help="Variance of Gaussian columns given z.  [default: auto, learned, and conditional for images]",
    ),
    click.option(
        "--column-transform",
        type=click.Choice(["auto", "standardise"]),
        help="auto also transforms skewed columns.  [default: auto]",
    ),
    click.option(
        "--trim-fraction",
        type=click.FloatRange(0.0, 0.5),
        help="Share of INPUT that may be anomalies; these rows are not trained on.  [default: 0]",
    ),
    click.option("--beta", type=click.FloatRange(0.0, 1e3), help="Weight of the KL term in training.  [default: 1]"),
    click.option(
        "--kl-warmup",
        type=click.FloatRange(0.0, 1.0),
        help="Share of steps over which that weight rises from 0.  [default: 0.3]",
    ),
    click.option(
        "--free-bits",
        type=click.FloatRange(0.0, 100.0),
        help="Nats of KL per latent dimension that cost nothing.  [default: 0]",
    ),
    click.option(
        "--masking",
        type=click.FloatRange(0.0, 1.0),
        help="Share of steps that train with missing cells.  [default: 0.1]",
    ),
    click.option(
        "--max-steps",
        type=click.IntRange(1),
        help="Largest number of optimiser steps.  [default: 2.5 for each training row, between 2,000 and 8,000; with "
        "--search off half of that; for windows 1,000 to 2,000, for images 1,000 to 4,000]",
    ),
    click.option(
        "--max-epochs", type=click.IntRange(1), help="Largest number of passes over the rows.  [default: no limit]"
    ),
    click.option("--device", help="auto, cpu, cuda or another torch device.  [default: auto]"),
)

_WINDOW = (
    click.option(
        "--window",
        type=_Window(),
        help="INPUT is one or more time series: train on windows of this many steps, such as 64, or auto for a length "
        "by the period of the data. Scores are then for each step.",
    ),
    click.option(
        "--stride",
        type=click.IntRange(1),
        help="Steps from one training window to the next; more trains on fewer windows.  [default: 1]",
    ),
    click.option(
        "--timestamp",
        help="Column with the times of the steps.  [default: the only column of dates and times; without one, each row "
        "is one step]",
    ),
    click.option(
        "--series",
        help="Column that names the series of each row, such as host.  [default: all rows are one series]",
    ),
)

_IMAGE = (
    options.image_layout,
    click.option(
        "--resize",
        type=_Size(),
        help="Resize images to this height and width in pixels.  [default: they must have one size]",
    ),
    click.option(
        "--channels",
        type=click.Choice(["1", "3", "4"]),
        help="Make decoded images grey (1), coloured (3), or coloured with transparency (4).  [default: as they are]",
    ),
    options.image_column,
)


def _giving(
    given: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(given), command)

    return decorate


model_options = _giving(_MODEL)
window_options = _giving(_WINDOW)
image_options = _giving(_IMAGE)
