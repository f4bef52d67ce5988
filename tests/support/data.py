"""Rows for tests: synthetic ones, and the folder of the real tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

DATA = Path(os.environ.get("ANOMALY_VAE_DATA", Path(__file__).parents[3] / "shared" / "data"))
NAMES = ("pressure", "flow", "valve", "temperature", "unit")


def make_rows(n: int, seed: int = 0) -> np.ndarray:
    """Return synthetic rows: a curve, a correlation, a bimodal column, different units, a constant column ("unit")."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=n)
    return np.column_stack(
        [
            1e5 + 2e3 * t + 200 * rng.normal(size=n),
            0.01 * np.sin(2 * t) + 0.001 * rng.normal(size=n),
            np.where(rng.random(n) < 0.5, -1.0, 1.0) + 0.1 * rng.normal(size=n),
            20 + t**2 + rng.normal(size=n),
            np.full(n, 7.0),
        ]
    )
