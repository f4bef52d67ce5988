"""Load models to serve, check them against the limits, and measure their speed on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scorer import Scorer, load
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig

__all__ = ["Loader", "Measured", "measure_speed"]

# Rows of the measured batch: the smallest full batch. A smaller one takes longer for a row.
_ROWS = 32
# Number of measurements, of which the fastest counts. The first one includes one-time work, such as memory allocation.
_REPEATS = 2
# Seconds that one measurement may take. If the batch would take longer, a single row is measured for it. Chosen, not
# measured: a row of large images may take seconds, and the service should start within some.
_LONGEST_SECONDS = 4.0


class Measured(NamedTuple):
    """Seconds that one thread took for rows with these options."""

    options: ScoreOptions
    num_rows: int
    seconds: float


class Loader:
    """Loads the versions of all models. At most ``threads`` of their networks run at a time.

    Versions with the same bundle share one scorer, and so its memory.
    """

    def __init__(self, config: ServeConfig, threads: int) -> None:
        """Load nothing yet."""
        self._config = config
        self._slots = Slots(threads)
        self._scorers: WeakValueDictionary[str, Scorer] = WeakValueDictionary()

    def load(self, name: str, version: str, path: Path) -> Served:
        """Load a bundle, and score its golden rows.

        Raises:
            BundleError: The bundle is refused.
            ConfigError: The model needs more samples for a row, or more columns, than the settings allow.
        """
        config, scorer = self._config, load(path, threads=1, slots=self._slots, verify_key=self._config.verify_key)
        scorer = self._scorers.setdefault(scorer.bundle.digest, scorer)
        if scorer.num_samples > config.max_samples:
            raise ConfigError(
                f"the model is calibrated for {scorer.num_samples} samples a row, max_samples allows "
                f"{config.max_samples}"
            )
        if scorer.schema.shape is None and len(scorer.schema.columns) > config.max_columns:  # others come as tensors
            raise ConfigError(
                f"the model has {len(scorer.schema.columns)} columns, max_columns allows {config.max_columns}"
            )
        budgets = tuple(budget for budget in scorer.budgets if budget <= config.max_samples)
        return Served(name, version, scorer, budgets)


def measure_speed(served: Served) -> list[Measured]:
    """Score, then flag, the model's golden rows with the calibrated budget, and measure the time."""
    golden = served.scorer.bundle.golden_rows
    rows = np.ascontiguousarray(np.resize(golden, (_ROWS, golden.shape[1])))
    return [_measured(served, options, rows) for options in (served.options(), served.options(flag_only=True))]


def _measured(served: Served, options: ScoreOptions, rows: FloatArray) -> Measured:
    one_row = _seconds(served, options, rows[:1])
    if len(rows) * one_row > _LONGEST_SECONDS:
        return Measured(options, len(rows), len(rows) * one_row)
    return Measured(options, len(rows), min(_seconds(served, options, rows) for _ in range(_REPEATS)))


def _seconds(served: Served, options: ScoreOptions, rows: FloatArray) -> float:
    start = time.perf_counter()
    served.compute(rows, options)
    return time.perf_counter() - start
