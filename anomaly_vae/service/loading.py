"""Load a model to serve, check it against the limits, and measure its speed on this machine."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scorer import load
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig

__all__ = ["Measured", "load_served", "measure_speed"]

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


def load_served(config: ServeConfig, threads: int) -> Served:
    """Load the model of the settings; at most ``threads`` of its networks run at a time.

    Raises:
        BundleError: The bundle is refused.
        ConfigError: The model needs more samples for a row, or more columns, than the settings allow.
    """
    scorer = load(config.model, threads=1, slots=Slots(threads))
    if scorer.num_samples > config.max_samples:
        raise ConfigError(
            f"the model is calibrated for {scorer.num_samples} samples a row, max_samples allows {config.max_samples}"
        )
    if scorer.schema.shape is None and len(scorer.schema.columns) > config.max_columns:  # others come as tensors
        raise ConfigError(
            f"the model has {len(scorer.schema.columns)} columns, max_columns allows {config.max_columns}"
        )
    budgets = tuple(budget for budget in scorer.budgets if budget <= config.max_samples)
    return Served(config.model_name, config.model_version, scorer, budgets)


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
