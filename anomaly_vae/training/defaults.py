"""Sizes and steps of convolutional models that the user left open."""

from __future__ import annotations

from dataclasses import replace

from anomaly_vae.columns.shapes import ImageShape, SeriesShape, Shape
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.convolutions import Plan

__all__ = ["plan_of", "resolve_convolutions"]

# Channels of the stages.
_SERIES_CHANNELS, _IMAGE_CHANNELS = (8, 16), (16, 32)

# Size of the convolutions along an axis, pixels or steps.
_SERIES_KERNEL, _IMAGE_KERNEL = 4, 4

# Latent dimensions of windows, of images up to 32 x 32 x 1, and of larger ones.
_SERIES_LATENT, _SIMPLE_LATENT, _COMPLEX_LATENT, _SIMPLE_CELLS = 8, 10, 64, 32 * 32

# Channels of a window up to which the level of each is a dimension of z. Chosen, not measured: the search for modes
# takes time by the dimensions.
_MOST_LEVELS = 16

# Steps for each training row, and their limits. 1,000 steps are enough for windows of series with 350 to 5,000 steps,
# and for 5,600 images of digits; more rows are chosen to get more, not measured.
_SERIES_STEPS, _IMAGE_STEPS = (0.5, 1000, 2000), (0.25, 1000, 4000)


def resolve_convolutions(config: TrainConfig, shape: Shape, num_rows: int) -> TrainConfig:
    """Return the parameters with everything that is "auto" chosen for windows or images.

    Raises:
        ConfigError: The architecture does not fit the data.
    """
    is_image = isinstance(shape, ImageShape)
    fits = "conv2d" if is_image else "conv1d"
    if config.architecture not in ("auto", fits):
        what = "images" if is_image else "windows of a time series"
        raise ConfigError(f"architecture {config.architecture!r} does not fit {what}; use {fits!r} or 'mlp'")
    latent = _SERIES_LATENT + (shape.num_channels if _has_levels(shape) else 0)
    if is_image:
        latent = _SIMPLE_LATENT if shape.num_cells <= _SIMPLE_CELLS else _COMPLEX_LATENT
    per_row, least, most = _IMAGE_STEPS if is_image else _SERIES_STEPS
    steps = min(max(round(per_row * num_rows), least), most)
    channels = _IMAGE_CHANNELS if is_image else _SERIES_CHANNELS
    variance = config.decoder_variance
    if variance == "auto":
        is_open = is_image and config.likelihood in ("auto", "gaussian", "logistic", "pixel")
        variance = "conditional" if is_open else "learned"
    return replace(
        config,
        architecture=fits,
        decoder_variance=variance,
        likelihood=_likelihood_of(config.likelihood, variance, shape),
        hidden=channels if config.hidden == "auto" else config.hidden,
        latent_dim=min(latent, shape.num_cells) if config.latent_dim == "auto" else config.latent_dim,
        max_steps=steps if config.max_steps == "auto" else config.max_steps,
    )


def _likelihood_of(likelihood: str, variance: str, shape: Shape) -> str:
    """Return the likelihood of the cells: for bytes whose variance depends on z, "pixel", if it is open or "logistic".

    Measured on MNIST: 1.49 bits per dimension, and 1.64 with Gaussian heads whose variance depends on z.

    Raises:
        ConfigError: "pixel" does not fit the cells.
    """
    is_byte = isinstance(shape, ImageShape) and shape.depth == "uint8"
    if likelihood == "pixel" and not is_byte:
        raise ConfigError("likelihood 'pixel' is for images in bytes (0 to 255); use 'auto' for other numbers")
    is_open = likelihood in ("auto", "logistic") and variance == "conditional"
    return "pixel" if is_byte and is_open else likelihood


def plan_of(config: TrainConfig, shape: Shape | None) -> Plan | None:
    """Return the sizes of convolutional networks; None for multilayer perceptrons."""
    if config.architecture == "mlp" or shape is None:
        return None
    return Plan(
        plane=shape.plane,
        channels=tuple(int(width) for width in config.hidden),
        kernel=_SERIES_KERNEL if isinstance(shape, SeriesShape) else _IMAGE_KERNEL,
        residual=config.residual,
        dropout=config.dropout,
        normalise=config.normalisation == "batch",
        levels=_has_levels(shape) and int(config.latent_dim) > shape.num_channels,
    )


def _has_levels(shape: Shape) -> bool:
    return isinstance(shape, SeriesShape) and shape.num_channels <= _MOST_LEVELS
