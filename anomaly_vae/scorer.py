"""The definition of a score: the command line, the service and the estimator all call ``Scorer``."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.files import Bundle, read_bundle
from anomaly_vae.bundle.golden import check_golden
from anomaly_vae.bundle.members import open_members
from anomaly_vae.bundle.row_calibration import RowCalibration, calibrate_rows, usable_schema
from anomaly_vae.calibration import conformal_p_value, rank, rank_for, threshold_at_rank
from anomaly_vae.columns.row_state import RowState, reasons_of, row_state
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.estimator import DensityEstimator, Estimates, Precision
from anomaly_vae.density.runtime import Slots
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.errors import AnomalyVaeError, BundleError
from anomaly_vae.score_options import ScoreOptions, check_budget, check_rate, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores

__all__ = ["Flags", "Scorer", "Scores", "load"]

# Characters of an onnxruntime error that a message repeats. Chosen, not measured: its texts can be pages long.
_ERROR_CHARACTERS = 300


class Scorer:
    """Computes log p(x), its standard error, a p-value and a flag for each row; does not need torch.

    ``anomaly_vae.load`` makes one from a directory. Several threads may use one scorer.

    A scorer can be sent to other processes by ``pickle``, ``multiprocessing`` and ``joblib``. One that was loaded from
    a directory sends the path, and the other process opens the same bundle. One that was made from a ``Bundle`` sends
    the bundle. ``threads`` is sent too: with one process per core, load with ``threads=1``. ``slots`` stays behind.

    Attributes:
        bundle: The model.
        path: The directory that ``load`` read, absolute; None for a bundle in memory.

    Examples:
        >>> import numpy as np
        >>> from anomaly_vae import load
        >>> scorer = load("model")
        >>> scorer.schema.names
        ('pressure', 'flow', 'valve', 'temperature', 'unit')
        >>> scores = scorer.score(np.array([[1e5, 0.0, 1.0, 21.0, 7.0], [1e5, 0.0, 1.0, 21.0, 8.0]]))
        >>> scores.is_anomaly
        array([False,  True])
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
        self.path: Path | None = None
        self._threads = threads
        try:
            with np.errstate(all="ignore"):
                self._estimator = self._estimator_with(self.schema, threads, slots)
                check_golden(bundle, self._estimator)
        except AnomalyVaeError:
            raise
        except Exception as error:  # of onnxruntime, which have no common base class, or of numpy
            text = str(error).partition("\n")[0][:_ERROR_CHARACTERS]
            raise BundleError(f"golden.npy: its rows cannot be scored: {text}; train the model again") from error

    def __repr__(self) -> str:
        """Return where the model comes from, and what decides a flag."""
        manifest = self.bundle.manifest
        return (
            f"Scorer({'' if self.path is None else f'path={str(self.path)!r}, '}digest='{self.bundle.digest[:12]}', "
            f"columns={len(self.schema.columns)}, members={len(manifest.members)}, threshold={self.threshold:.4f}, "
            f"target_fpr={manifest.calibration.target_fpr:g})"
        )

    def __copy__(self) -> Scorer:
        """Return the scorer itself: scoring does not change it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Scorer:
        """Return the scorer itself: scoring does not change it."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Scorer], tuple[Any, ...]]:
        """Return how another process makes this scorer: from the path if there is one, otherwise from the bundle."""
        if self.path is None:
            return _from_memory, (self.bundle, self._threads)
        return _reopened, (str(self.path), self.bundle.digest, self._threads)

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
        """Like ``score``, for float64 rows (N, D) that were already checked against the schema; never warns."""
        return self._score(
            rows, ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr)
        )

    def flag(self, X: Any, *, target_fpr: float | None = None) -> Flags:  # noqa: N803 (the name that scikit-learn uses)
        """Decide which rows are anomalies, with far fewer samples than ``score`` uses.

        Sampling stops early for clearly normal rows, after 16 or 64 samples. Every flagged row had the full budget,
        except for rows that rank below all others because of a value that training never had, which need no samples.
        So every row flagged here is also flagged by ``score``, and the bound on the false-positive rate holds.

        Args:
            X: As for ``score``.
            target_fpr: As for ``score``.

        Raises:
            InvalidInput: As for ``score``.
            ConfigError: As for ``score``.
        """
        return self.flag_rows(to_rows(X, self.schema), target_fpr=target_fpr)

    def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None) -> Flags:
        """Like ``flag``, for float64 rows (N, D) that were already checked against the schema."""
        threshold = self._threshold(self._rank_at(target_fpr))
        cells = row_state(self.schema, rows)
        is_anomaly = cells.ranks_lowest.copy()
        num_samples = np.zeros(len(rows), dtype=np.int64)  # stays 0 for rows that are decided without
        sampled = np.flatnonzero(~(cells.ranks_lowest | cells.is_empty))
        log_px_threshold = self.bundle.manifest.adjustment.backward(threshold, cells.missing[sampled])
        careful_below = self._careful_below(cells.missing[sampled])
        decided = self._estimator.decide(rows[sampled], self.precision, log_px_threshold, careful_below)
        is_anomaly[sampled] = self._adjusted(decided.log_px, cells.missing[sampled]) < threshold
        num_samples[sampled] = decided.num_samples
        return Flags(is_anomaly=is_anomaly, num_samples=num_samples, reason=reasons_of(self.schema, cells, rows))

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
        missing = row_state(self.schema, rows).missing
        careful_below = self._careful_below(missing)
        estimates = estimator.estimate(rows, self.precision, careful_below=careful_below, on_rows=on_rows)
        score = self._adjusted(estimates.log_px, missing)
        return calibrate_rows(schema, rows, score, target_fpr, confidence, demotions)

    def threshold_at(self, target_fpr: float) -> float:
        """Return the threshold for another false-positive rate, from the same calibration scores, nats.

        Args:
            target_fpr: Share of normal rows that may be flagged, between 0 and 1.

        Raises:
            ConfigError: There are too few calibration rows for that rate.
        """
        return self._threshold(self._rank_at(target_fpr))

    @property
    def budgets(self) -> tuple[int, ...]:
        """The values that ``num_samples`` may have."""
        return self._estimator.budgets

    def encode(self, X: Any) -> FloatArray:  # noqa: N803 (the name that scikit-learn uses)
        """Return the means of q(z|x), shape (N, L).

        Args:
            X: As for ``score``.

        Returns:
            Coordinates in the latent space, without a unit. For an ensemble, those of its members side by side.

        Raises:
            InvalidInput: As for ``score``.
        """
        return self.encode_rows(to_rows(X, self.schema))

    def encode_rows(self, rows: FloatArray) -> FloatArray:
        """Like ``encode``, for float64 rows (N, D) that were already checked against the schema."""
        return self._estimator.encode(rows)

    def sample(self, n: int, seed: int = 0) -> FloatArray:
        """Draw synthetic rows from the model, data units, shape (n, D).

        A categorical column holds indices into the schema's categories.

        Args:
            n: Number of rows.
            seed: The same seed gives the same rows.
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
        cells = row_state(self.schema, rows)
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
            reason=reasons_of(self.schema, cells, rows),
        )

    def _estimates(self, rows: FloatArray, cells: RowState, options: ScoreOptions) -> Estimates:
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
        return rank_for(calibration, check_rate("target_fpr", target_fpr))

    def _threshold(self, k: int) -> float:
        return threshold_at_rank(self.bundle.calibration, self.bundle.manifest.calibration.num_novel, k)

    def _adjusted(self, log_px: FloatArray, missing: NDArray[np.bool_]) -> FloatArray:
        return self.bundle.manifest.adjustment.forward(log_px, missing)

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
        threads: Blocks of rows computed in parallel (default: the number of cores).
        slots: Limits the network calls that run in parallel, over all threads that score; None for no limit.

    Returns:
        A ``Scorer``.

    Raises:
        BundleError: The bundle is damaged, unsafe or of another format version.

    Examples:
        >>> scorer = load("model")
        >>> scorer.num_samples, scorer.target_error
        (4096, 0.1)
    """
    scorer = Scorer(read_bundle(Path(path)), threads=threads, slots=slots)
    scorer.path = Path(path).absolute()
    return scorer


def _from_memory(bundle: Bundle, threads: int | None) -> Scorer:
    """Make the scorer of a bundle that was pickled with it."""
    return Scorer(bundle, threads=threads)


@lru_cache(maxsize=1)  # a pool sends the same scorer with every task
def _reopened(path: str, digest: str, threads: int | None) -> Scorer:
    """Load the model that a pickled scorer was loaded from.

    Raises:
        BundleError: The directory is gone, or has another model by now.
    """
    scorer = load(path, threads=threads)
    if scorer.bundle.digest != digest:
        raise BundleError(
            f"{path}: this bundle has the digest {scorer.bundle.digest}, the scorer that was pickled had {digest}; the "
            "folder was changed meanwhile. Load the model again, and pickle that scorer"
        )
    return scorer
