"""A model for the load tests, and the table that it is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

import anomaly_vae
from anomaly_vae.arrays import FloatArray

__all__ = ["make_model", "make_models", "table"]


def table(num_rows: int, seed: int) -> FloatArray:
    """Return random rows of scikit-learn's breast-cancer table, 30 columns, with 1 % noise."""
    rng = np.random.default_rng(seed)
    data = load_breast_cancer().data
    rows = data[rng.integers(0, len(data), num_rows)]
    return np.asarray(rows * (1 + 0.01 * rng.normal(size=rows.shape)))


def make_models(folder: Path, number: int) -> list[Path]:
    """Train different models on the table, and save each in a folder of its own."""
    return [make_model(folder, f"model{seed}", seed) for seed in range(number)]


def make_model(folder: Path, name: str = "model", seed: int = 0) -> Path:
    """Train on the table for 300 steps, and save."""
    path = folder / name
    detector = anomaly_vae.VAEDetector(random_state=seed, search="off", likelihood="gaussian", max_steps=300)
    detector.fit(table(2_000, seed=0))
    detector.save(path)
    return path
