"""Series to train on: three machines with two sensors, with gaps, in one table."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["machines"]


def machines(num_steps: int = 300, seed: int = 0) -> pd.DataFrame:
    """Return rows in random order: ts, host, cpu, mem. Host "b" has a short gap, and "c" a long one."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, host in enumerate("abc"):
        phase = 2.0 * np.pi * np.arange(num_steps) / 24 + number
        frame = pd.DataFrame(
            {
                "ts": pd.date_range("2024-01-01", periods=num_steps, freq="min").strftime("%Y-%m-%d %H:%M:%S"),
                "host": host,
                "cpu": np.sin(phase) + 0.05 * rng.normal(size=num_steps),
                "mem": np.cos(phase) + 0.05 * rng.normal(size=num_steps) + number,
            }
        )
        gaps = {"a": [], "b": [50], "c": list(range(100, 130))}
        parts.append(frame.drop(index=gaps[host], errors="ignore"))
    return pd.concat(parts).sample(frac=1.0, random_state=seed, ignore_index=True)
