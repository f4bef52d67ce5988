"""THE definition of a score. The command line and the estimator both call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.bundle import Bundle, read_bundle
from anomaly_vae.calibration import (
    calibrate,
    conformal_p_value,
    rank,
    rows_needed,
    threshold_at_rank,
    threshold_rank,
)
from anomaly_vae.config import check_error, check_rate
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import AnomalyVaeError, BundleError, ConfigError
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.golden import check_golden
from anomaly_vae.manifest import Calibration
from anomaly_vae.member import open_members
from anomaly_vae.rows import to_rows
from anomaly_vae.runtime import Slots
from anomaly_vae.sampling import sample_rows
from anomaly_vae.schema import Schema
from anomaly_vae.scores import Flags, Scores, warn_uncalibrated

__all__ = ["Flags", "Scorer", "Scores", "load"]

_LONGEST_TEXT = 300

# What a changed constant column takes off the log-density, below the lowest calibration score.
_NOVELTY_NATS = 1e6


class Scorer:
    """Computes log p(x), its error, a p-value and a flag for rows; needs neither torch nor pickle.

    Make one with :func:`load`. Calls from several threads are safe.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, slots: Slots | None = None) -> None:
        """Start the networks of a checked bundle and score its golden rows.

        Args:
            bundle: The model.
            threads: Blocks of rows in flight at once (default: the cores we have).
            slots: Bounds the calls of networks that run side by side, over all threads that score.

        Raises:
            BundleError: A graph does not fit the manifest, or the golden rows' scores differ.
        """
        self.bundle = bundle
        try:
            with np.errstate(all="ignore"):
                members = open_members(self.schema, bundle.manifest.members, bundle.files, slots)
                self._estimator = DensityEstimator(members, bundle.noise, threads=threads)
                check_golden(bundle, self._estimator)
        except AnomalyVaeError:
            raise
        except Exception as error:  # numbers that no training gives, or onnxruntime, whose errors share no other root
            text = str(error).partition("\n")[0][:_LONGEST_TEXT]
            raise BundleError(f"golden.npz: its rows cannot be scored: {text}; train the model again") from error

    @property
    def schema(self) -> Schema:
        """The columns; ``schema.names`` lists them."""
        return self.bundle.manifest.schema

    @property
    def threshold(self) -> float:
        """Rows with a score strictly below it are anomalies, nats in data units."""
        return self.bundle.manifest.calibration.threshold

    @property
    def num_samples(self) -> int:
        """The calibrated budget K of decoder evaluations a row."""
        return self.bundle.manifest.estimator.num_samples

    @property
    def info(self) -> dict[str, Any]:
        """The manifest as plain Python, with the ``bundle_digest``: what ``anomaly-vae inspect`` prints."""
        return {"bundle_digest": self.bundle.digest, **msgspec.to_builtins(self.bundle.manifest)}

    def score(self, data: Any, num_samples: int | None = None, max_std_error: float | None = None) -> Scores:
        """Score every row, or none: one bad value refuses the call.

        Args:
            data: Rows in data units: an array (N, D) in the schema's order, a DataFrame or an Arrow table; NaN, None
                and nulls are missing cells.
            num_samples: Another budget than the calibrated one, from ``budgets``; then there is no p-value and no flag.
            max_std_error: Stop at a row when its standard error, looked at after 256, 512, ... samples, is at most
                this, nats, or the budget ends. An error at which one stops is a little too small on average. There is
                no p-value and no flag then either.

        Raises:
            InvalidInput: Columns missing, text where numbers are expected, or an infinite value.
            ConfigError: A budget or an error that cannot be.
        """
        scores = self.score_rows(to_rows(data, self.schema), num_samples, max_std_error=max_std_error)
        warn_uncalibrated(num_samples, self.num_samples, max_std_error)
        return scores

    def score_rows(
        self,
        rows: FloatArray,
        num_samples: int | None = None,
        target_fpr: float | None = None,
        max_std_error: float | None = None,
    ) -> Scores:
        """:meth:`score` of float64 rows (N, D) already checked against the schema, at another target if asked."""
        budget = self.num_samples if num_samples is None else self._estimator.check_budget(num_samples)
        check_error(max_std_error)
        calibrated = budget == self.num_samples and max_std_error is None
        k = self._rank_at(target_fpr)
        estimates = self._estimator.estimate(rows, budget, max_std_error)
        novel = self.schema.novel_cells(rows)
        missing = self._missing(rows, novel)
        nothing = self._nothing_there(missing, novel)
        score = np.where(nothing, self._highest(), self._adjusted(estimates.log_px, missing))
        ranks = self._ranks(score, np.asarray(novel.any(axis=1)))
        penalty = self._novelty_penalty(score, novel.sum(axis=1))
        return Scores(
            log_px=np.where(nothing, 0.0, estimates.log_px - penalty),
            score=score - penalty,
            elbo=np.where(nothing, 0.0, estimates.elbo - penalty),
            std_error=np.where(nothing, 0.0, estimates.std_error),
            ess_ratio=estimates.ess_ratio,
            pareto_k=estimates.pareto_k,
            reliable=estimates.reliable | nothing,
            p_value=conformal_p_value(ranks, self.bundle.manifest.calibration.num_rows) if calibrated else None,
            is_anomaly=ranks < k if calibrated else None,
            num_samples=estimates.num_samples,
            reason=self._reasons(novel, nothing, rows),
        )

    def flag(self, data: Any) -> Flags:
        """Decide only which rows are anomalies, with a fraction of the samples that :meth:`score` takes.

        Rows that are clearly normal leave after 16 or 64 samples; every flagged row has had the full budget, unless a
        constant column changed, which needs none. So the flags are among those of ``score``, and the guarantee on
        false positives holds.

        Args:
            data: As for :meth:`score`.

        Raises:
            InvalidInput: As for :meth:`score`.
        """
        return self.flag_rows(to_rows(data, self.schema))

    def flag_rows(self, rows: FloatArray, target_fpr: float | None = None) -> Flags:
        """:meth:`flag` of float64 rows (N, D) already checked against the schema, at another target if asked."""
        calibration = self.bundle.manifest.calibration
        k = self._rank_at(target_fpr)
        novel_cells = self.schema.novel_cells(rows)
        missing = self._missing(rows, novel_cells)
        nothing = self._nothing_there(missing, novel_cells)
        novel = np.asarray(novel_cells.any(axis=1))
        is_anomaly = np.full(len(rows), calibration.num_novel < k) & novel
        num_samples = np.zeros(len(rows), dtype=np.int64)  # a novelty is decided without any
        threshold = threshold_at_rank(self.bundle.calibration, calibration.num_novel, k)
        known = np.flatnonzero(~(novel | nothing))
        in_log_px = self.bundle.manifest.adjustment.backward(threshold, missing[known])
        decided = self._estimator.decide(rows[known], self.num_samples, in_log_px)
        is_anomaly[known] = self._adjusted(decided.log_px, missing[known]) < threshold
        num_samples[known] = decided.num_samples
        return Flags(is_anomaly=is_anomaly, num_samples=num_samples, reason=self._reasons(novel_cells, nothing, rows))

    def calibration_of(
        self,
        rows: FloatArray,
        target_fpr: float,
        confidence: float | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> tuple[Calibration, FloatArray]:
        """Calibrate anew on checked rows (N, D): the record for a manifest, and the sorted finite scores.

        Rows with every cell missing are left out.
        """
        log_px = self._estimator.estimate(rows, self.num_samples, on_rows=on_rows).log_px
        novel = self.schema.novel_cells(rows)
        missing = self._missing(rows, novel)
        told = ~self._nothing_there(missing, novel)
        score = self._adjusted(log_px, missing)
        return calibrate(score[told], np.asarray(novel.any(axis=1))[told], target_fpr, confidence)

    def threshold_at(self, target_fpr: float) -> float:
        """The threshold of another target false-positive rate, from the same calibration scores, nats.

        Raises:
            ConfigError: There are too few calibration rows for that target.
        """
        calibration = self.bundle.manifest.calibration
        return threshold_at_rank(self.bundle.calibration, calibration.num_novel, self._rank_at(target_fpr))

    @property
    def budgets(self) -> tuple[int, ...]:
        """The values ``num_samples`` may take."""
        return self._estimator.budgets

    def encode(self, data: Any) -> FloatArray:
        """Means of q(z|x), (N, D) -> (N, L); of a mixture, those of its models side by side.

        Raises:
            InvalidInput: As for :meth:`score`.
        """
        return self.encode_rows(to_rows(data, self.schema))

    def encode_rows(self, rows: FloatArray) -> FloatArray:
        """:meth:`encode` of float64 rows (N, D) already checked against the schema."""
        return self._estimator.encode(rows)

    def sample(self, n: int, seed: int = 0) -> FloatArray:
        """Draw n synthetic rows of numbers from the model, data units, shape (n, D).

        A categorical column holds indices into the schema's categories.
        """
        return sample_rows(self._estimator.members, n, seed)

    def _rank_at(self, target_fpr: float | None) -> int:
        calibration = self.bundle.manifest.calibration
        if target_fpr is None:
            return calibration.rank
        check_rate("target_fpr", target_fpr)
        n, confidence = calibration.num_rows, calibration.confidence
        k = threshold_rank(n, target_fpr, confidence)
        if k == 0:
            raise ConfigError(
                f"target_fpr {target_fpr:g} needs at least {rows_needed(target_fpr, confidence)} calibration rows, "
                f"the model has {n}; calibrate with more rows, or ask for a higher rate"
            )
        return k

    def _missing(self, rows: FloatArray, novel: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which modelled cells have no part in log p(x), shape (N, M)."""
        modelled = self.schema.modelled
        return np.isnan(rows[:, modelled]) | novel[:, modelled]

    def _adjusted(self, log_px: FloatArray, missing: NDArray[np.bool_]) -> FloatArray:
        return self.bundle.manifest.adjustment.forward(log_px, missing)

    def _nothing_there(self, missing: NDArray[np.bool_], novel: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows of which nothing is known: no modelled cell is there, and nothing is new in the others, shape (N,)."""
        return np.asarray(missing.all(axis=1) & ~novel.any(axis=1))

    def _reasons(self, novel: NDArray[np.bool_], nothing: NDArray[np.bool_], rows: FloatArray) -> list[str | None]:
        reasons = self.schema.describe(novel, rows)
        for i in np.flatnonzero(nothing):
            reasons[i] = "every cell is missing: there is nothing to judge"
        return reasons

    def _ranks(self, score: FloatArray, novel: NDArray[np.bool_]) -> NDArray[np.int64]:
        calibration = self.bundle.manifest.calibration
        return rank(self.bundle.calibration, calibration.num_novel, np.where(novel, -np.inf, score))

    def _highest(self) -> float:
        """The score of a row of which nothing is known: no calibration row has a higher one."""
        return float(self.bundle.calibration[-1]) if len(self.bundle.calibration) else 0.0

    def _novelty_penalty(self, log_px: FloatArray, changes: NDArray[np.int64]) -> FloatArray:
        """Nats that put novelties below every calibration score, so that score and p-value agree on them."""
        lowest = self.bundle.calibration[0] if len(self.bundle.calibration) else 0.0
        step = _NOVELTY_NATS + 1e-6 * abs(lowest)  # not lost in the rounding of a very low score
        return np.where(changes > 0, np.maximum(log_px - lowest, 0.0) + step * changes, 0.0)


def load(path: str | Path, *, threads: int | None = None, slots: Slots | None = None) -> Scorer:
    """Load a model bundle, the directory made by ``anomaly-vae train`` or ``VAEDetector.save``.

    Args:
        path: The directory.
        threads: Blocks of rows in flight at once (default: the cores we have).
        slots: See :class:`Scorer`.

    Raises:
        BundleError: The bundle is damaged, hostile or of another version.
    """
    return Scorer(read_bundle(Path(path)), threads=threads, slots=slots)
