"""A scorer whose scores are known, and tables for it."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from anomaly_vae.batch import score_table
from anomaly_vae.calibration import PValueGrid
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import ConfigError
from anomaly_vae.explained import Why
from anomaly_vae.scores import Flags, Scores
from tests.support.tables import csv_table

__all__ = ["SCHEMA", "TEXT", "FakeScorer", "scored"]

# Row 2 is unreadable, row 4 is ragged, row 5 has a missing cell and a new city.
TEXT = "id,a,city\nr1,1.5,Oslo\nr2,high,Rome\nr3,-3,Rome\nr4,4\nr5,,Bonn\n"
SCHEMA = Schema(
    columns=(
        Column(name="city", kind="categorical", categories=("Oslo", "Rome")),
        Column(name="a", kind="continuous"),
    )
)

# By the code of the category.
CITIES = {0.0: "Oslo", 1.0: "Rome"}


class FakeScorer:
    """log p(x) is the number in column a, 0 where it is missing. Anomalies are below 0; with two tails also above 5."""

    schema = SCHEMA
    num_samples = 64
    has_contrast = False

    def __init__(self):
        self.seen, self.explained = [], []

    def score_rows(self, rows, *, num_samples=None, max_std_error=None, target_fpr=None, tail=None):
        if num_samples not in (None, 16, 64):
            raise ConfigError("num_samples must be one of 16, 64")
        self.seen.append(rows)
        value, calibrated = np.nan_to_num(rows[:, 1]), num_samples in (None, 64) and max_std_error is None
        return Scores(
            **dict.fromkeys(("log_px", "score", "elbo", "ess_ratio", "pareto_k"), value),
            std_error=np.where(value == 1.5, np.nan, 0.25),
            reliable=value < 9.0,
            p_value=np.full(len(rows), target_fpr or 0.5) if calibrated else None,
            is_anomaly=self._beyond(value, 0.0, tail) if calibrated else None,
            num_samples=np.full(len(rows), num_samples or 64),
            reason=["city is new" if code == -1.0 else None for code in rows[:, 0]],
        )

    def flag_rows(self, rows, *, target_fpr=None, tail=None):
        return Flags(
            is_anomaly=self._beyond(rows[:, 1], target_fpr or 0.0, tail),
            num_samples=np.full(len(rows), 16),
            reason=[None] * len(rows),
        )

    def explain_rows(self, rows, *, top=3, on_rows=None):
        """The city is to blame, then the number; a new city has no value."""
        self.explained += rows.tolist()
        if on_rows:
            on_rows(len(rows))
        return [[self._why("city", CITIES.get(code)), self._why("a", a)][:top] for code, a in rows.tolist()]

    def _why(self, column, value):
        return Why(column=column, value=value, nats=3.0, std_error=0.1, excess=2.0, is_novel=value is None)

    def thresholds(self, *, target_fpr=None, tail=None):
        return target_fpr or 0.0, 5.0 if tail == "both" else None

    def p_value_grid(self, *, tail=None):
        return PValueGrid.of(99, 0, tail or "low", contrast=False, bundle_digest="0" * 64)

    def _beyond(self, value, low, tail):
        return (value < low) | (value > 5.0) if tail == "both" else value < low

    def encode_rows(self, rows):
        return np.column_stack([rows[:, 1], -rows[:, 1], rows[:, 0]])

    def sample(self, n, seed):
        """The seed is the number of every row; the cities alternate."""
        return np.column_stack([np.arange(n) % 2, np.full(n, float(seed))])


def scored(tmp_path, scorer=None, text=TEXT, **options):
    path = tmp_path / "out.parquet"
    summary = score_table(scorer or FakeScorer(), csv_table(text), str(path), **options)
    return pq.read_table(path), summary
