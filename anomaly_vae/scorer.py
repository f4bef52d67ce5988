"""The definition of a score: the command line, the service and the estimator all call :class:`Scorer`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.files import Bundle, read_bundle
from anomaly_vae.bundle.golden import check_golden
from anomaly_vae.bundle.members import open_members
from anomaly_vae.bundle.row_calibration import RowCalibration, calibrate_rows, usable_schema
from anomaly_vae.calibration import (
    conformal_p_value,
    lowest_target,
    rank,
    rows_needed,
    threshold_at_rank,
    threshold_rank,
)
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.estimator import DensityEstimator, Estimates, Precision
from anomaly_vae.density.runtime import Slots
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.errors import AnomalyVaeError, BundleError, ConfigError
from anomaly_vae.score_options import ScoreOptions, check_budget, check_rate, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores

__all__ = ["Flags", "Scorer", "Scores", "load"]

# Characters of an onnxruntime error that a message repeats. Chosen, not measured: its texts can be pages long.
_ERROR_CHARACTERS = 300


class _Cells(NamedTuple):
    """The state of the cells of N rows with D columns, M of them modelled.

    Attributes:
        novel: Cells with a value that training never had: a changed constant, an unseen category; shape (N, D).
        missing: Modelled cells that are missing, shape (N, M).
        ranks_lowest: Rows that rank below all others because of a novel cell, shape (N,).
        is_empty: Rows with nothing to judge, shape (N,).
    """

    novel: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    ranks_lowest: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]


class Scorer:
    """Computes log p(x), its standard error, a p-value and a flag for each row; needs neither torch nor pickle.

    :func:`load` makes one from a directory. Several threads may use one scorer.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, slots: Slots | None = None) -> None:
        """Load the networks of a checked bundle and compare the scores of its golden rows.

        Args:
            bundle: The model.
            threads: Blocks of rows computed in parallel (default: the number of cores).
            slots: Limits the network calls that run in parallel, over all threads that score.

        Raises:
            BundleError: A graph does not match the manifest, or the golden rows have other scores than at training.
        """
        self.bundle = bundle
        try:
            with np.errstate(all="ignore"):
                self._estimator = self._estimator_with(self.schema, threads, slots)
                check_golden(bundle, self._estimator)
        except AnomalyVaeError:
            raise
        except Exception as error:  # of onnxruntime, which have no common base class, or of numpy
            text = str(error).partition("\n")[0][:_ERROR_CHARACTERS]
            raise BundleError(f"golden.npy: its rows cannot be scored: {text}; train the model again") from error

    @property
    def schema(self) -> Schema:
        """The columns; ``schema.names`` lists them."""
        return self.bundle.manifest.schema

    @property
    def threshold(self) -> float:
        """The threshold, nats in data units: a row is an anomaly if its score is strictly below it."""
        return self.bundle.manifest.calibration.threshold

    @property
    def num_samples(self) -> int:
        """Most decoder evaluations per row in the calibration."""
        return self.bundle.manifest.estimator.num_samples

    @property
    def target_error(self) -> float:
        """The standard error at which the sampling of a row ends, nats."""
        return self.bundle.manifest.estimator.target_error

    @property
    def precision(self) -> Precision:
        """The rule of the calibration: the error target and the cap."""
        return Precision(self.target_error, self.num_samples)

    @property
    def info(self) -> dict[str, Any]:
        """The manifest as plain Python values, with the ``bundle_digest``: ``anomaly-vae inspect --json`` prints it."""
        return {"bundle_digest": self.bundle.digest, **msgspec.to_builtins(self.bundle.manifest)}

    def score(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
    ) -> Scores:
        """Score every row; one wrong value refuses the whole call.

        Args:
            X: Rows in data units: an array (N, D) in the schema's order, a DataFrame or an Arrow table. NaN, None and
                nulls are missing cells.
            num_samples: A fixed number of decoder evaluations per row, one of ``budgets``; None for the rule of the
                calibration, which spends what a row needs: see ``target_error``. The number of the calibration, its
                cap, also means that rule. With another number there is no p-value and no flag.
            max_std_error: Another error target, nats: sampling of a row ends when its standard error is at most this.
                An error that stopped the sampling is a little too small on average. There is no p-value and no flag.
            target_fpr: False-positive rate of the flags, between 0 and 1, from the same calibration scores; None for
                the rate of the calibration.

        Raises:
            InvalidInput: A column is missing, a number is expected but text is found, or a value is infinite.
            ConfigError: An option is wrong, or there are too few calibration rows for ``target_fpr``.
        """
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr)
        scores = self._score(to_rows(X, self.schema), options)
        warn_uncalibrated(options, self.num_samples)
        return scores

    def score_rows(
        self,
        rows: FloatArray,
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
    ) -> Scores:
        """Like :meth:`score`, for float64 rows (N, D) that were already checked against the schema; never warns."""
        return self._score(
            rows, ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr)
        )

    def flag(self, X: Any, *, target_fpr: float | None = None) -> Flags:  # noqa: N803 (the name that scikit-learn uses)
        """Decide which rows are anomalies, with far fewer samples than :meth:`score` uses.

        Sampling stops early for clearly normal rows, after 16 or 64 samples. Every flagged row had the full budget,
        except for rows that rank below all others because of a value that training never had, which need no samples.
        So every row flagged here is also flagged by ``score``, and the bound on the false-positive rate holds.

        Args:
            X: As for :meth:`score`.
            target_fpr: As for :meth:`score`.

        Raises:
            InvalidInput, ConfigError: As for :meth:`score`.
        """
        return self.flag_rows(to_rows(X, self.schema), target_fpr=target_fpr)

    def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None) -> Flags:
        """Like :meth:`flag`, for float64 rows (N, D) that were already checked against the schema."""
        threshold = self._threshold(self._rank_at(target_fpr))
        cells = self._cells(rows)
        is_anomaly = cells.ranks_lowest.copy()
        num_samples = np.zeros(len(rows), dtype=np.int64)  # stays 0 for rows that are decided without
        sampled = np.flatnonzero(~(cells.ranks_lowest | cells.is_empty))
        log_px_threshold = self.bundle.manifest.adjustment.backward(threshold, cells.missing[sampled])
        careful_below = self._careful_below(cells.missing[sampled])
        decided = self._estimator.decide(rows[sampled], self.precision, log_px_threshold, careful_below)
        is_anomaly[sampled] = self._adjusted(decided.log_px, cells.missing[sampled]) < threshold
        num_samples[sampled] = decided.num_samples
        return Flags(is_anomaly=is_anomaly, num_samples=num_samples, reason=self._reasons(cells, rows))

    def calibration_of(
        self,
        rows: FloatArray,
        target_fpr: float,
        confidence: float | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> RowCalibration:
        """Calibrate on checked rows (N, D); rows whose cells are all missing are left out.

        Args:
            rows: Normal rows that the model was not trained on.
            target_fpr: Share of normal rows that may be flagged.
            confidence: Probability with which that share must hold; None to bound its mean.
            on_rows: Called with the number of rows just scored.

        Raises:
            InvalidInput: Every row has all its cells missing.
        """
        schema, demotions = usable_schema(self.schema, rows, target_fpr, confidence)
        estimator = self._estimator if schema == self.schema else self._estimator_with(schema, self._estimator.threads)
        missing = self._cells(rows).missing
        careful_below = self._careful_below(missing)
        estimates = estimator.estimate(rows, self.precision, careful_below=careful_below, on_rows=on_rows)
        score = self._adjusted(estimates.log_px, missing)
        return calibrate_rows(schema, rows, score, target_fpr, confidence, demotions)

    def threshold_at(self, target_fpr: float) -> float:
        """Return the threshold for another false-positive rate, from the same calibration scores, nats.

        Raises:
            ConfigError: There are too few calibration rows for that rate.
        """
        return self._threshold(self._rank_at(target_fpr))

    @property
    def budgets(self) -> tuple[int, ...]:
        """The values that ``num_samples`` may have."""
        return self._estimator.budgets

    def encode(self, X: Any) -> FloatArray:  # noqa: N803 (the name that scikit-learn uses)
        """Return the means of q(z|x), (N, D) -> (N, L); for an ensemble, those of its members side by side.

        Raises:
            InvalidInput: As for :meth:`score`.
        """
        return self.encode_rows(to_rows(X, self.schema))

    def encode_rows(self, rows: FloatArray) -> FloatArray:
        """Like :meth:`encode`, for float64 rows (N, D) that were already checked against the schema."""
        return self._estimator.encode(rows)

    def sample(self, n: int, seed: int = 0) -> FloatArray:
        """Draw n synthetic rows from the model, data units, shape (n, D).

        A categorical column holds indices into the schema's categories. The same seed gives the same rows.
        """
        return sample_rows(self._estimator.members, n, seed)

    def _estimator_with(self, schema: Schema, threads: int | None, slots: Slots | None = None) -> DensityEstimator:
        """Return the estimator of log p(x) with these columns, which may have another novelty than the bundle's."""
        bundle = self.bundle
        members = open_members(schema, bundle.manifest.members, bundle.files, slots)
        extra_starts = bundle.manifest.estimator.extra_starts
        return DensityEstimator(members, bundle.noise, threads=threads, extra_starts=extra_starts)

    def _score(self, rows: FloatArray, options: ScoreOptions) -> Scores:
        is_calibrated = options.uncalibrated_reason(self.num_samples) is None
        k = self._rank_at(options.target_fpr)
        cells = self._cells(rows)
        estimates = self._estimates(rows, cells, options)
        score = np.where(cells.is_empty, self._highest_score(), self._adjusted(estimates.log_px, cells.missing))
        calibration = self.bundle.manifest.calibration
        ordered = np.where(cells.ranks_lowest, -np.inf, score)
        ranks = rank(self.bundle.calibration, calibration.num_novel, ordered)
        return Scores(
            log_px=np.where(cells.is_empty, 0.0, estimates.log_px),
            score=np.where(cells.ranks_lowest, self._below_all(score), score),
            elbo=np.where(cells.is_empty, 0.0, estimates.elbo),
            std_error=np.where(cells.is_empty, 0.0, estimates.std_error),
            ess_ratio=estimates.ess_ratio,
            pareto_k=estimates.pareto_k,
            reliable=estimates.reliable | cells.is_empty,
            p_value=conformal_p_value(ranks, calibration.num_rows) if is_calibrated else None,
            is_anomaly=ranks < k if is_calibrated else None,
            num_samples=estimates.num_samples,
            reason=self._reasons(cells, rows),
        )

    def _estimates(self, rows: FloatArray, cells: _Cells, options: ScoreOptions) -> Estimates:
        """Estimate log p(x) as the options say: by the calibrated rule, another error target, or a fixed budget."""
        budget = self.num_samples
        if options.num_samples is not None:
            budget = check_budget(options.num_samples, self.budgets)
        if budget != self.num_samples and options.max_std_error is None:
            return self._estimator.estimate_fixed(rows, budget)
        target_error = self.target_error if options.max_std_error is None else options.max_std_error
        careful_below = self._careful_below(cells.missing)
        return self._estimator.estimate(rows, Precision(target_error, budget), careful_below=careful_below)

    def _careful_below(self, missing: NDArray[np.bool_]) -> FloatArray:
        """Return the log p(x) below which rows with these cells missing (N, M) get the thorough search, shape (N,)."""
        level = self.bundle.manifest.estimator.careful_below
        if level is None:
            return np.full(len(missing), -np.inf)
        return self.bundle.manifest.adjustment.backward(level, missing)

    def _rank_at(self, target_fpr: float | None) -> int:
        """Return the rank k of the threshold for a false-positive rate; None means the rate of the calibration."""
        calibration = self.bundle.manifest.calibration
        if target_fpr is None:
            return calibration.rank
        check_rate("target_fpr", target_fpr)
        n, confidence = calibration.num_rows, calibration.confidence
        k = threshold_rank(n, target_fpr, confidence)
        if k == 0:
            raise ConfigError(
                f"target_fpr {target_fpr:g} needs at least {rows_needed(target_fpr, confidence)} calibration rows, "
                f"the model has {n}; calibrate with more rows, or use a higher target_fpr"
            )
        if k <= calibration.num_novel:
            raise ConfigError(
                f"target_fpr {target_fpr:g} is too low: its threshold has rank {k}, and {calibration.num_novel} of the "
                f"{n} calibration rows rank below all others because of values that training never had. The lowest "
                f"possible target is {lowest_target(n, calibration.num_novel + 1, confidence):g}; use that or more, or "
                "calibrate for this target"
            )
        return k

    def _threshold(self, k: int) -> float:
        return threshold_at_rank(self.bundle.calibration, self.bundle.manifest.calibration.num_novel, k)

    def _cells(self, rows: FloatArray) -> _Cells:
        novel = self.schema.novel_cells(rows)
        return _Cells(
            novel=novel,
            ranks_lowest=np.asarray(self.schema.lowest_cells(novel).any(axis=1)),
            missing=np.isnan(rows[:, self.schema.modelled]),
            is_empty=self.schema.is_empty(rows, novel),
        )

    def _adjusted(self, log_px: FloatArray, missing: NDArray[np.bool_]) -> FloatArray:
        return self.bundle.manifest.adjustment.forward(log_px, missing)

    def _reasons(self, cells: _Cells, rows: FloatArray) -> list[str | None]:
        reasons = self.schema.describe(cells.novel, rows)
        for i in np.flatnonzero(cells.is_empty):
            reasons[i] = "every cell is missing: there is nothing to judge"
        return reasons

    def _below_all(self, score: FloatArray) -> FloatArray:
        """Return scores lowered by the range of the calibration scores, and at least below the lowest of them."""
        lowest, highest = self.bundle.calibration[0], self.bundle.calibration[-1]
        return np.asarray(np.minimum(score - (highest - lowest), np.nextafter(lowest, -np.inf)))

    def _highest_score(self) -> float:
        """Return the highest calibration score, which is the score of a row with every cell missing."""
        return float(self.bundle.calibration[-1])


def load(path: str | Path, *, threads: int | None = None, slots: Slots | None = None) -> Scorer:
    """Load a model bundle: a directory written by ``anomaly-vae train`` or ``VAEDetector.save``.

    Args:
        path: The directory.
        threads, slots: As for :class:`Scorer`.

    Raises:
        BundleError: The bundle is damaged, unsafe or of another format version.
    """
    return Scorer(read_bundle(Path(path)), threads=threads, slots=slots)
