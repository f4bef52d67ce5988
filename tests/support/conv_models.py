"""Small convolutional models of windows and of images, really trained, and data for them."""

from __future__ import annotations

import csv
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from anomaly_vae.bundle.files import Bundle
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.series.tables import to_training_panel
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images
from anomaly_vae.training.windows import train_series

__all__ = [
    "HOSTS",
    "IMAGE",
    "LENGTH",
    "arrow_table",
    "grey_images",
    "image_bundle",
    "series_bundle",
    "series_table",
    "write_table",
]

HOSTS, LENGTH = ("alpha", "beta", "gamma"), 8
IMAGE = ImageShape(height=8, width=8)


def series_table(num_steps: int = 160, seed: int = 0, noise: float = 0.1) -> dict[str, list]:
    """Return two waves of three hosts, one row a minute, in the order of time: beta has a long gap, gamma short ones.

    Two steps of alpha have one missing cell, and one has no value.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for step in range(num_steps):
        for h, host in enumerate(HOSTS):
            if (host == "beta" and 60 <= step < 90) or (host == "gamma" and step in (20, 21, 70)):
                continue
            phase = 0.4 * step + h
            flow, load = np.sin(phase) + noise * rng.normal(), 5.0 + 2.0 * np.cos(phase) + noise * rng.normal()
            seconds = 1_700_000_000 + 60 * step
            rows.append((str(np.datetime64(seconds, "s")).replace("T", " "), host, float(flow), float(load)))
    table = {
        name: list(column) for name, column in zip(("ts", "host", "flow", "load"), zip(*rows, strict=True), strict=True)
    }
    for i in (30, 33, 42):
        table["flow"][i] = None
    table["load"][42] = None
    return table


def write_table(path: Path, table: dict[str, list]) -> None:
    """Write a CSV; None is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(["" if cell is None else cell for cell in row] for row in zip(*table.values(), strict=True))


def arrow_table(table: dict[str, list]) -> pa.Table:
    """Return the table with types, as a Parquet file would have it."""
    return pa.table(table)


@cache
def series_bundle() -> Bundle:
    """Train windows of 8 steps for 30 optimiser steps."""
    data = to_training_panel(arrow_table(series_table()), series="host")
    config = TrainConfig(
        random_state=3, max_steps=30, target_fpr=0.2, window=LENGTH, search="off", architecture="conv1d"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # windows overlap
        return train_series(data, config).bundle


def grey_images(n: int, seed: int = 0) -> np.ndarray:
    """Return images of a bright square somewhere, uint8, shape (n, 8, 8)."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 50, size=(n, 8, 8), dtype=np.uint8)
    for i, (y, x) in enumerate(rng.integers(0, 5, size=(n, 2))):
        found[i, y : y + 4, x : x + 4] += 180
    return found


@cache
def image_bundle() -> Bundle:
    """Train on 300 images for 30 optimiser steps."""
    rows = grey_images(300).reshape(300, -1).astype(np.float64)
    config = TrainConfig(
        random_state=3, max_steps=30, target_fpr=0.1, search="off", architecture="conv2d", contrast="off"
    )
    return train_images(rows, IMAGE, config).bundle
