"""A table of numbers, decimals, texts, counts and times, with a model of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from anomaly_vae import VAEDetector

__all__ = ["payments", "payments_model"]

_MINUTES = 60 * 24 * 60


def payments(n: int, seed: int) -> pa.Table:
    """Return n complete rows over 60 days: two columns that go together, a fee in cents, a city, a count, a time."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    cents = np.round(100 * (3.0 + size + rng.normal(size=n)))
    times = np.datetime64("2024-01-01", "us") + rng.integers(0, _MINUTES, size=n).astype("timedelta64[m]")
    return pa.table(
        {
            "id": np.arange(n),
            "amount": 1e3 + 50.0 * size + 5.0 * rng.normal(size=n),
            "fee": pa.array(cents / 100.0).cast(pa.decimal128(9, 2), safe=False),
            "city": np.array(["Oslo", "Rome", "Bonn"])[rng.integers(3, size=n)],
            "items": rng.poisson(4.0, size=n),
            "paid": times,
        }
    )


def payments_model(path) -> None:
    """Train a small model on such rows, without their number, and write it."""
    detector = VAEDetector(random_state=0, max_steps=60, search="off", target_fpr=0.05)
    detector.fit(payments(800, seed=0).drop_columns(["id"])).save(path)
