"""The definition of a score, for rows that were checked against the schema: estimates, flags, calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.decision_rule import DecisionRule
from anomaly_vae.bundle.files import Bundle
from anomaly_vae.bundle.golden import check_golden
from anomaly_vae.bundle.members import open_contrast, open_members
from anomaly_vae.bundle.row_calibration import RowCalibration, calibrate_rows, usable_schema
from anomaly_vae.columns.row_state import RowState, reasons_of, row_state
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.estimator import Decisions, DensityEstimator, Estimates, Precision
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import AnomalyVaeError, BundleError
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions, check_budget, check_rate, check_tail
from anomaly_vae.scores import Flags, Scores

__all__ = ["Judge"]

# Characters of an onnxruntime error that a message repeats. Chosen, not measured: its texts can be pages long.
_ERROR_CHARACTERS = 300

# The reason of a row that is an anomaly by its contrast alone.
_BY_CONTRAST = "contrast: it looks unlike the training images in detail"


class Judge:
    """Decides on rows (N, D), float64 in data units and checked against the schema, with one open model.

    Attributes:
        bundle: The model.
        estimator: Estimates log p(x).
        contrast: Computes contrasts; None for a model without.
        precision: The rule of the calibration: the error target and the cap.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, slots: Slots | None = None) -> None:
        """Load the networks and compare the scores of the golden rows; see :class:`anomaly_vae.scorer.Scorer`.

        Raises:
            BundleError: A graph does not match the manifest, or the golden rows have other scores than at training.
        """
        self.bundle, self._schema = bundle, bundle.manifest.schema
        self.precision = Precision(bundle.manifest.estimator.target_error, bundle.manifest.estimator.num_samples)
        self._rule = DecisionRule(bundle.manifest.calibration, bundle.calibration, contrast=bundle.contrast)
        try:
            with np.errstate(all="ignore"):
                self.estimator = self._estimator_with(self._schema, threads, slots)
                features = self.estimator.members[0].features
                has_contrast = bundle.manifest.contrast is not None
                self.contrast = open_contrast(bundle.files, features, slots) if has_contrast else None
                check_golden(bundle, self.estimator, self.contrast)
        except AnomalyVaeError:
            raise
        except Exception as error:  # of onnxruntime, which have no common base class, or of numpy
            text = str(error).partition("\n")[0][:_ERROR_CHARACTERS]
            raise BundleError(f"golden.npy: its rows cannot be scored: {text}; train the model again") from error

    def rule_for(self, target_fpr: float | None, tail: Tail | None) -> DecisionRule:
        """Return what decides: thresholds, ranks and p-values for a false-positive rate and a tail, as for ``score``.

        Raises:
            ConfigError: An option is wrong, or there are too few calibration rows for them.
        """
        if target_fpr is None and tail in (None, self.bundle.manifest.calibration.tail):
            return self._rule
        rate = None if target_fpr is None else check_rate("target_fpr", target_fpr)
        chosen = None if tail is None else check_tail(tail)
        bundle = self.bundle
        return DecisionRule(bundle.manifest.calibration, bundle.calibration, rate, chosen, bundle.contrast)

    def scores(self, rows: FloatArray, options: ScoreOptions) -> Scores:
        """Score rows (N, D); see :meth:`anomaly_vae.scorer.Scorer.score`."""
        is_calibrated = options.uncalibrated_reason(self.precision.num_samples) is None
        rule = self.rule_for(options.target_fpr, options.tail)
        cells = row_state(self._schema, rows)
        estimates = self._estimates(rows, cells, options)
        score = np.where(cells.is_empty, rule.neutral_score, self._adjusted(estimates.log_px, cells.missing))
        ranks = rule.ranks(np.where(cells.ranks_lowest, -np.inf, score))
        contrast, reason = self._contrasts(rows, cells), reasons_of(self._schema, cells, rows)
        contrast_ranks = rule.contrast_ranks(contrast)
        if is_calibrated and contrast_ranks is not None:
            _say_by_contrast(reason, rule.contrast_flags(contrast_ranks) & ~rule.flags(ranks))
        return Scores(
            log_px=np.where(cells.is_empty, 0.0, estimates.log_px),
            score=np.where(cells.ranks_lowest, rule.below_all(score), score),
            elbo=np.where(cells.is_empty, 0.0, estimates.elbo),
            std_error=np.where(cells.is_empty, 0.0, estimates.std_error),
            ess_ratio=estimates.ess_ratio,
            pareto_k=estimates.pareto_k,
            reliable=estimates.reliable | cells.is_empty,
            p_value=rule.p_values(ranks, contrast_ranks) if is_calibrated else None,
            is_anomaly=rule.flags(ranks, contrast_ranks) if is_calibrated else None,
            num_samples=estimates.num_samples,
            reason=reason,
            contrast=contrast,
        )

    def flags(self, rows: FloatArray, *, target_fpr: float | None, tail: Tail | None) -> Flags:
        """Decide on rows (N, D); see :meth:`anomaly_vae.scorer.Scorer.flag`."""
        rule = self.rule_for(target_fpr, tail)
        cells = row_state(self._schema, rows)
        is_anomaly = cells.ranks_lowest.copy()
        num_samples = np.zeros(len(rows), dtype=np.int64)  # stays 0 for rows that are decided without
        sampled = np.flatnonzero(~(cells.ranks_lowest | cells.is_empty))
        missing = cells.missing[sampled]
        careful_below = self._careful_below(missing)
        decided: Decisions | Estimates
        if rule.tail == "both":
            decided = self.estimator.estimate(rows[sampled], self.precision, careful_below=careful_below)
        else:
            limits = self.bundle.manifest.adjustment.backward(rule.threshold, missing)
            decided = self.estimator.decide(rows[sampled], self.precision, limits, careful_below)
        is_anomaly[sampled] = rule.flags(rule.ranks(self._adjusted(decided.log_px, missing)))
        num_samples[sampled] = decided.num_samples
        reason = reasons_of(self._schema, cells, rows)
        contrast_ranks = rule.contrast_ranks(self._contrasts(rows, cells))
        if contrast_ranks is not None:
            by_contrast = rule.contrast_flags(contrast_ranks)
            _say_by_contrast(reason, by_contrast & ~is_anomaly)
            is_anomaly |= by_contrast
        return Flags(is_anomaly=is_anomaly, num_samples=num_samples, reason=reason)

    def calibration(
        self,
        rows: FloatArray,
        target_fpr: float,
        confidence: float | None,
        on_rows: Callable[[int], None] | None,
        tail: Tail,
        thin: Callable[[FloatArray], NDArray[np.intp]] | None,
    ) -> RowCalibration:
        """Calibrate on rows (N, D); see :meth:`anomaly_vae.scorer.Scorer.calibration_of`."""
        has_contrast, dependent = self.contrast is not None, thin is not None
        schema, demotions = usable_schema(
            self._schema, rows, target_fpr, confidence, tail, contrast=has_contrast, dependent=dependent
        )
        estimator = self.estimator if schema == self._schema else self._estimator_with(schema, self.estimator.threads)
        cells = row_state(self._schema, rows)
        missing = cells.missing
        careful_below = self._careful_below(missing)
        estimates = estimator.estimate(rows, self.precision, careful_below=careful_below, on_rows=on_rows)
        score = self._adjusted(estimates.log_px, missing)
        contrast = self._contrasts(rows, cells)
        if thin is not None:
            counted = thin(np.where(schema.ranks_lowest(rows), -np.inf, score))
            rows, score, contrast = rows[counted], score[counted], None if contrast is None else contrast[counted]
        return calibrate_rows(schema, rows, score, target_fpr, confidence, demotions, tail, contrast)

    def _estimator_with(self, schema: Schema, threads: int | None, slots: Slots | None = None) -> DensityEstimator:
        """Return the estimator of log p(x) with these columns, which may have another novelty than the bundle's."""
        bundle = self.bundle
        members = open_members(schema, bundle.manifest.members, bundle.files, slots)
        extra_starts = bundle.manifest.estimator.extra_starts
        return DensityEstimator(members, bundle.noise, threads=threads, extra_starts=extra_starts)

    def _contrasts(self, rows: FloatArray, cells: RowState) -> FloatArray | None:
        """Return the contrasts of rows (N, D), nats, (N,), the highest of the calibration where nothing is to judge."""
        if self.contrast is None or self.bundle.contrast is None:
            return None
        return np.where(cells.is_empty, self.bundle.contrast[-1], self.contrast.of_rows(rows))

    def _estimates(self, rows: FloatArray, cells: RowState, options: ScoreOptions) -> Estimates:
        """Estimate log p(x) as the options say: by the calibrated rule, another error target, or a fixed budget."""
        budget = self.precision.num_samples
        if options.num_samples is not None:
            budget = check_budget(options.num_samples, self.estimator.budgets)
        if budget != self.precision.num_samples and options.max_std_error is None:
            return self.estimator.estimate_fixed(rows, budget)
        target_error = self.precision.target_error if options.max_std_error is None else options.max_std_error
        careful_below = self._careful_below(cells.missing)
        return self.estimator.estimate(rows, Precision(target_error, budget), careful_below=careful_below)

    def _careful_below(self, missing: NDArray[np.bool_]) -> FloatArray:
        """Return the log p(x) below which rows with these cells missing (N, M) get the thorough search, shape (N,)."""
        level = self.bundle.manifest.estimator.careful_below
        if level is None:
            return np.full(len(missing), -np.inf)
        return self.bundle.manifest.adjustment.backward(level, missing)

    def _adjusted(self, log_px: FloatArray, missing: NDArray[np.bool_]) -> FloatArray:
        return self.bundle.manifest.adjustment.forward(log_px, missing)


def _say_by_contrast(reason: list[str | None], decided: NDArray[np.bool_]) -> None:
    """Write the reason of those rows that only the contrast decided, (N,), where there is no other reason."""
    for i in np.flatnonzero(decided):
        reason[i] = reason[i] or _BY_CONTRAST
