"""Sizes of convolutional models that follow from the data."""

from __future__ import annotations

import pytest

from anomaly_vae.columns.shapes import ImageShape, SeriesShape
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.defaults import plan_of, resolve_convolutions

SERIES = SeriesShape(length=64, channels=("a", "b"))
DIGITS = ImageShape(height=28, width=28)
PHOTOS = ImageShape(height=64, width=64, channels=3)


def test_latent_dimensions_follow_the_data():
    """Windows have one for each level beside their own; large images have more than small ones."""
    latent = [resolve_convolutions(TrainConfig(), shape, 1000).latent_dim for shape in (SERIES, DIGITS, PHOTOS)]
    assert latent == [8 + 2, 10, 64]
    assert resolve_convolutions(TrainConfig(latent_dim=2), DIGITS, 1000).latent_dim == 2


@pytest.mark.parametrize(("shape", "kind"), [(SERIES, "conv1d"), (DIGITS, "conv2d")])
def test_the_architecture_follows_the_data(shape, kind):
    assert resolve_convolutions(TrainConfig(), shape, 1000).architecture == kind
    other = {"conv1d": "conv2d", "conv2d": "conv1d"}[kind]
    with pytest.raises(ConfigError, match=f"architecture '{other}' does not fit .*; use '{kind}' or 'mlp'"):
        resolve_convolutions(TrainConfig(architecture=other), shape, 1000)


def test_more_rows_get_more_steps():
    steps = [resolve_convolutions(TrainConfig(), DIGITS, n).max_steps for n in (100, 5600, 10_000, 10**6)]
    assert steps == [1000, 1400, 2500, 4000]
    assert resolve_convolutions(TrainConfig(max_steps=7), DIGITS, 10**6).max_steps == 7


def test_the_plan_has_what_the_parameters_say():
    config = resolve_convolutions(TrainConfig(hidden=(3, 5), residual=True, dropout=0.2), SERIES, 100)
    plan = plan_of(config, SERIES)
    assert (plan.plane, plan.channels, plan.residual, plan.dropout, plan.levels) == ((1, 64), (3, 5), True, 0.2, True)
    assert plan_of(TrainConfig(architecture="mlp"), SERIES) is None
    assert plan_of(TrainConfig(), None) is None


def test_few_latent_dimensions_or_many_channels_have_no_levels():
    """With latent_dim=2 both dimensions are for the map of windows, and 30 levels would be 30 dimensions."""
    few = resolve_convolutions(TrainConfig(latent_dim=2), SERIES, 100)
    assert not plan_of(few, SERIES).levels
    many = SeriesShape(length=16, channels=tuple(map(str, range(30))))
    config = resolve_convolutions(TrainConfig(), many, 100)
    assert (config.latent_dim, plan_of(config, many).levels) == (8, False)
    assert not plan_of(resolve_convolutions(TrainConfig(), DIGITS, 100), DIGITS).levels


@pytest.mark.parametrize(
    ("options", "depth", "likelihood", "variance"),
    [
        ({}, "uint8", "pixel", "conditional"),
        ({"likelihood": "logistic"}, "uint8", "pixel", "conditional"),
        ({"likelihood": "gaussian"}, "uint8", "gaussian", "conditional"),
        ({"likelihood": "logistic", "decoder_variance": "learned"}, "uint8", "logistic", "learned"),
        ({"decoder_variance": "fixed"}, "uint8", "auto", "fixed"),
        ({}, "float", "auto", "conditional"),
        ({"likelihood": "student_t"}, "float", "student_t", "learned"),
        ({"likelihood": "bernoulli"}, "uint8", "bernoulli", "learned"),
    ],
)
def test_the_likelihood_of_pixels(options, depth, likelihood, variance):
    found = resolve_convolutions(TrainConfig(**options), ImageShape(height=8, width=8, depth=depth), 100)
    assert (found.likelihood, found.decoder_variance) == (likelihood, variance)


def test_windows_learn_their_variances():
    found = resolve_convolutions(TrainConfig(), SERIES, 100)
    assert (found.likelihood, found.decoder_variance) == ("auto", "learned")


@pytest.mark.parametrize("shape", [SERIES, ImageShape(height=8, width=8, depth="float")], ids=["series", "float"])
def test_the_head_of_pixels_needs_bytes(shape):
    with pytest.raises(ConfigError, match="likelihood 'pixel' is for images in bytes"):
        resolve_convolutions(TrainConfig(likelihood="pixel"), shape, 100)
