"""A model made ready to serve: loaded, checked against the limits, and its pace on this machine measured."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError
from anomaly_vae.runtime import Slots
from anomaly_vae.scorer import load
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.served import Served, Work

__all__ = ["Measured", "load_served", "measure_pace"]

_ROWS = 32
_TIMES = 2  # the first makes ready what all later ones need


class Measured(NamedTuple):
    """Seconds that one thread took for some rows of a work."""

    work: Work
    num_rows: int
    seconds: float


def load_served(config: ServeConfig, threads: int) -> Served:
    """The model of the settings, whose networks run in ``threads`` threads at a time.

    Raises:
        BundleError: The bundle is refused.
        ConfigError: The model needs more samples a row, or columns, than a request may have.
    """
    scorer = load(config.model, threads=1, slots=Slots(threads))
    if scorer.num_samples > config.max_samples:
        raise ConfigError(
            f"the model is calibrated for {scorer.num_samples} samples a row, max_samples allows {config.max_samples}"
        )
    if len(scorer.schema.columns) > config.max_columns:
        raise ConfigError(
            f"the model has {len(scorer.schema.columns)} columns, max_columns allows {config.max_columns}"
        )
    budgets = tuple(budget for budget in scorer.budgets if budget <= config.max_samples)
    return Served(config.model_name, config.model_version, scorer, budgets)


def measure_pace(served: Served) -> list[Measured]:
    """Score and flag the model's golden rows, with the calibrated budget, before there are requests."""
    golden = served.scorer.bundle.golden_rows
    rows = np.ascontiguousarray(np.resize(golden, (_ROWS, golden.shape[1])))
    works = [Work(served, served.scorer.num_samples, flag_only=flag_only) for flag_only in (False, True)]
    return [Measured(work, _ROWS, min(_seconds(work, rows) for _ in range(_TIMES))) for work in works]


def _seconds(work: Work, rows: FloatArray) -> float:
    start = time.perf_counter()
    work.run(rows)
    return time.perf_counter() - start
