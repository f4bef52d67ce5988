"""Small images of bars, and models of them that have a contrast."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.training import contrast
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images

__all__ = ["PICTURE", "other_pictures", "picture_model", "pictures", "short_contrast"]

PICTURE = ImageShape(height=8, width=8)


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Return rows of images with one bright upright bar on a dark ground, values 0 to 255, shape (n, 64)."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 40, size=(n, 8, 8)).astype(np.float64)
    found[np.arange(n), :, rng.integers(8, size=n)] += 200.0
    return found.reshape(n, 64)


def other_pictures(n: int, seed: int = 0) -> np.ndarray:
    """Return rows of images with a bar that lies down."""
    return np.ascontiguousarray(pictures(n, seed).reshape(n, 8, 8).transpose(0, 2, 1)).reshape(n, 64)


@contextlib.contextmanager
def short_contrast(steps: int = 60) -> Iterator[None]:
    """Train contrasts of this process with so few steps: they decide worse, and take a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrast, "_LEAST_STEPS", steps)
        patch.setattr(contrast, "_MOST_STEPS", steps)
        yield


def picture_model(n: int = 500, contrast_steps: int = 150, **options: object):
    """Train a small model with a contrast."""
    config = {"random_state": 3, "max_steps": 60, "target_fpr": 0.1, "search": "off", "latent_dim": 3, "hidden": (4, 8)}
    with short_contrast(contrast_steps):
        return train_images(pictures(n), PICTURE, TrainConfig(**(config | options)))
