"""Models of windows and images. Their networks are those of a table; the columns have the names of the cells."""

from __future__ import annotations

import msgspec
import numpy as np

from anomaly_vae.bundle.files import with_calibration
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, Shape, cell_names
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model

__all__ = ["IMAGE", "WINDOW", "images", "schema_with", "shaped_bundle", "windows"]

IMAGE = ImageShape(height=3, width=4)
WINDOW = SeriesShape(length=4, channels=("flow", "load"), step_seconds=60.0, timestamp="ts")


def schema_with(shape: Shape) -> Schema:
    """Return columns of numbers with a shape."""
    return Schema(columns=tuple(Column(name=name, kind="continuous") for name in cell_names(shape)), shape=shape)


def images(n: int, seed: int = 0) -> np.ndarray:
    """Return grey images of one bright pixel column, uint8, shape (n, 3, 4, 1)."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 60, size=(n, *IMAGE.sizes), dtype=np.uint8)
    found[np.arange(n), :, rng.integers(4, size=n)] += 180
    return found


def windows(n: int, seed: int = 0) -> np.ndarray:
    """Return windows of a sine and its cosine, shape (n, 4, 2)."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0.0, 2.0 * np.pi, size=(n, 1)) + np.arange(4)
    return np.stack([np.sin(phase), np.cos(phase)], axis=2) + 0.05 * rng.normal(size=(n, 4, 2))


def shaped_bundle(shape: Shape, rows: np.ndarray):
    """Train a small model on windows or images (N, *sizes), and return its bundle."""
    config = TrainConfig(random_state=3, max_steps=200, target_fpr=0.05, search="off", likelihood="gaussian")
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    bundle = train_model(flat, cell_names(shape), config).bundle
    manifest = bundle.manifest
    schema = msgspec.structs.replace(manifest.schema, shape=shape, inputs=())
    return with_calibration(bundle, manifest.calibration, bundle.calibration, manifest.created_at, schema)
