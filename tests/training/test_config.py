"""Parameters are validated, with their names in the errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number between 1"),
        ({"latent_dim": "many"}, "latent_dim must be"),
        ({"hidden": []}, "hidden must be"),
        ({"hidden": [128, "x"]}, "hidden must be a whole number"),
        ({"hidden": "wide"}, "hidden must be"),
        ({"hidden": [10] * 9}, "up to 8 layer widths"),
        ({"beta": 10**400}, "beta must be a number"),
        ({"architecture": "cnn"}, "architecture must be 'auto' or 'mlp' or 'conv1d' or 'conv2d', got 'cnn'"),
        ({"architecture": "conv2d", "window": 8}, "architecture 'conv2d' is for images, and window for time series"),
        ({"likelihood": "laplace"}, "likelihood must be 'auto' or 'gaussian' or 'student_t'"),
        ({"decoder_variance": "none"}, "decoder_variance must be 'auto' or 'learned' or 'fixed' or 'conditional'"),
        ({"likelihood": "student_t", "decoder_variance": "fixed"}, "decoder_variance 'fixed' needs Gaussian heads"),
        ({"column_transform": "log"}, "column_transform must be 'auto' or 'standardise'"),
        ({"columns": {"zip": "constant"}}, "columns: zip must be .*'exclude', got 'constant'"),
        ({"columns": {"hour": "cyclic"}}, "columns: hour must be .*'exclude', got 'cyclic'"),
        ({"columns": ["zip"]}, "columns must be kinds by name"),
        ({"search": "long"}, "search must be 'off' or 'fast' or 'full'"),
        ({"ensemble": 3}, "ensemble must be 1, 2, 4, 8 or 16, got 3"),
        ({"ensemble": 32}, "ensemble must be a whole number between 1 and 16"),
        ({"prior": "flow"}, "prior must be 'auto' or 'normal' or 'mixture', got 'flow'"),
        ({"prior": "mixture", "free_bits": 0.1}, "prior must be 'normal', got 'mixture'"),
        ({"free_bits": -0.1}, "free_bits must be a number between 0 and 100"),
        ({"masking": 1.1}, "masking must be a number between 0 and 1"),
        ({"trim_fraction": 0.6}, "trim_fraction must be a number between 0 and 0.5"),
        ({"beta": -1}, "beta must be a number between 0 and 1000"),
        ({"beta": math.nan}, "beta must be"),
        ({"kl_warmup": 1.5}, "kl_warmup must be"),
        ({"target_fpr": 0}, "target_fpr must be a number between 0 and 1"),
        ({"tail": "high"}, "tail must be 'auto' or 'low' or 'both', got 'high'"),
        ({"contrast": True}, "contrast must be 'auto' or 'on' or 'off', got True"),
        ({"normalisation": "layer"}, "normalisation must be 'none' or 'batch', got 'layer'"),
        ({"max_steps": 1.5}, "max_steps must be a whole number"),
        ({"random_state": -1}, "random_state must be"),
        ({"device": 3}, "device must be"),
    ],
)
def test_parameters_are_checked_by_name(parameters, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**parameters)


def test_numpy_numbers_are_accepted():
    sizes = {
        "hidden": np.array([8, 8]),
        "latent_dim": np.int64(2),
        "max_steps": np.int32(60),
        "random_state": np.uint8(1),
    }
    config = TrainConfig(**sizes, beta=np.float32(1), target_fpr=np.float64(0.2), search="off")
    assert train_model(make_rows(60), NAMES, config).bundle.manifest.training.config["latent_dim"] == 2


def test_images_have_two_tails_unless_the_user_says_otherwise():
    kinds = ("table", "series", "image")
    assert [TrainConfig().tail_for(kind) for kind in kinds] == ["low", "low", "both"]
    for tail in ("low", "both"):
        assert [TrainConfig(tail=tail).tail_for(kind) for kind in kinds] == [tail] * 3


def test_only_images_have_a_contrast_and_by_default_only_many():
    kinds = ("table", "series", "image")
    assert [TrainConfig().has_contrast(kind, 100) for kind in kinds] == [False, False, True]
    assert not TrainConfig().has_contrast("image", 99)
    assert TrainConfig(contrast="on").has_contrast("image", 7)
    assert not TrainConfig(contrast="off").has_contrast("image", 10_000)
    with pytest.raises(ConfigError, match="contrast 'on' is for images, and these rows are those of a series"):
        TrainConfig(contrast="on").has_contrast("series", 1000)
