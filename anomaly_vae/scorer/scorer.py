"""``Scorer``: checks what callers give and hands rows to :class:`anomaly_vae.scorer.judge.Judge`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.methods import ScoresArrow
from anomaly_vae.bundle.files import Bundle
from anomaly_vae.bundle.row_calibration import RowCalibration
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import BundleError
from anomaly_vae.record import Tail
from anomaly_vae.remote.opening import open_bundle
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scorer.explains import Explains
from anomaly_vae.scorer.judge import Judge
from anomaly_vae.scorer.latent import Latent
from anomaly_vae.scores import Flags, Scores

__all__ = ["Scorer", "load"]


class Scorer(Explains, Latent, ScoresArrow):
    """Computes log p(x), its standard error, a p-value and a flag for each row; does not need torch.

    ``anomaly_vae.load`` makes one from a directory. Several threads may use one scorer.

    A scorer can be sent to other processes by ``pickle``, ``multiprocessing`` and ``joblib``. One that was loaded from
    a directory sends the path, and the other process opens the same bundle. One that was made from a ``Bundle`` sends
    the bundle. ``threads`` is sent too: with one process per core, load with ``threads=1``. ``slots`` stays behind.

    Attributes:
        bundle: The model.
        path: The directory that ``load`` read, absolute; None for a bundle in memory or from a URL.

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
        self.path = None
        self._threads = threads
        self._judge = Judge(bundle, threads=threads, slots=slots)

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

    def score(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """Score every row; one wrong value refuses the whole call.

        Args:
            X: Rows in data units: an array (N, D) in the schema's order, a DataFrame or an Arrow table. Windows (N,
                length, channels) and images (N, height, width, channels) for a model of those; with one channel its
                axis may be left out. NaN, None and nulls are missing cells.
            num_samples: A fixed number of decoder evaluations per row, one of ``budgets``; None for the rule of the
                calibration, which spends what a row needs: see ``target_error``. The number of the calibration, its
                cap, also means that rule. With another number there is no p-value and no flag.
            max_std_error: Another error target, nats: sampling of a row ends when its standard error is at most this.
                An error that stopped the sampling is a little too small on average. There is no p-value and no flag.
            target_fpr: False-positive rate of the flags, between 0 and 1, from the same calibration scores; None for
                the rate of the calibration.
            tail: "low": low scores are anomalies. "both": high ones as well, and each side gets half of the rate. From
                the same calibration scores; None for the tail of the calibration.

        Raises:
            InvalidInput: A column is missing, the shape is wrong, a number is expected but text is found, or a value is
                infinite.
            ConfigError: An option is wrong, or there are too few calibration rows for ``target_fpr`` and ``tail``.
        """
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, tail=tail)
        scores = self._judge.scores(to_rows(X, self.schema), options)
        warn_uncalibrated(options, self.num_samples)
        return scores

    def score_rows(
        self,
        rows: FloatArray,
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """Like ``score``, for float64 rows (N, D) that were already checked against the schema; never warns."""
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, tail=tail)
        return self._judge.scores(rows, options)

    def flag(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Flags:
        """Decide which rows are anomalies, with far fewer samples than ``score`` uses.

        Sampling stops early for clearly normal rows, after 16 or 64 samples. Every flagged row had the full budget,
        except for rows that rank below all others because of a value that training never had, which need no samples.
        So every row flagged here is also flagged by ``score``, and the bound on the false-positive rate holds.
        With the tail "both", no row ends early, and the flags are those of ``score``: few samples show that log p(x)
        is not low, but not that it is not high.

        Args:
            X, target_fpr, tail: As for ``score``.

        Raises:
            InvalidInput: As for ``score``.
            ConfigError: As for ``score``.
        """
        return self.flag_rows(to_rows(X, self.schema), target_fpr=target_fpr, tail=tail)

    def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None, tail: Tail | None = None) -> Flags:
        """Like ``flag``, for float64 rows (N, D) that were already checked against the schema."""
        return self._judge.flags(rows, target_fpr=target_fpr, tail=tail)

    def calibration_of(
        self,
        rows: FloatArray,
        target_fpr: float,
        confidence: float | None = None,
        on_rows: Callable[[int], None] | None = None,
        tail: Tail | None = None,
        thin: Callable[[FloatArray], NDArray[np.intp]] | None = None,
    ) -> RowCalibration:
        """Calibrate on checked rows (N, D); rows whose cells are all missing are left out.

        Args:
            rows: Normal rows that the model was not trained on.
            target_fpr: Share of normal rows that may be flagged.
            confidence: Probability with which that share must hold; None to bound its mean.
            on_rows: Called with the number of rows just scored.
            tail: As for ``score``.
            thin: Chooses the rows that count by the scores of all, nats, if rows depend on each other, as windows of
                a series do; minus infinity stands for a row that ranks below all others.

        Raises:
            InvalidInput: Every row has all its cells missing.
        """
        return self._judge.calibration(rows, target_fpr, confidence, on_rows, tail or self.tail, thin)

    def thresholds(self, *, target_fpr: float | None = None, tail: Tail | None = None) -> tuple[float, float | None]:
        """Return the threshold and the upper one, nats, from the same calibration scores; None without an upper one.

        Args:
            target_fpr, tail: As for ``score``.

        Raises:
            ConfigError: As for ``score``.
        """
        rule = self._judge.rule_for(target_fpr, tail)
        return rule.threshold, rule.upper_threshold

    def threshold_at(self, target_fpr: float) -> float:
        """Return the threshold for another false-positive rate, from the same calibration scores, nats.

        ``thresholds`` also returns the upper one.

        Args:
            target_fpr: Share of normal rows that may be flagged, between 0 and 1.

        Raises:
            ConfigError: There are too few calibration rows for that rate.
        """
        return self._judge.rule_for(target_fpr, None).threshold

    @property
    def budgets(self) -> tuple[int, ...]:
        """The values that ``num_samples`` may have."""
        return self._judge.estimator.budgets


def load(
    path: str | Path, *, threads: int | None = None, slots: Slots | None = None, verify_key: str | Path | None = None
) -> Scorer:
    """Load a model bundle: a directory written by ``anomaly-vae train`` or ``VAEDetector.save``.

    Args:
        path: The directory, or the URL of one that ``anomaly-vae push`` wrote, such as ``s3://models/fraud/4``.
        threads: Blocks of rows computed in parallel (default: the number of cores).
        slots: Limits the network calls that run in parallel, over all threads that score; None for no limit.
        verify_key: Public key, PEM: refuse a bundle that was not signed with its private key.

    Returns:
        A ``Scorer``.

    Raises:
        BundleError: The bundle is damaged, unsafe or of another format version, or not signed as it must be.
        ConfigError: The URL or the key cannot be used.
        RemoteError: The remote storage fails.

    Examples:
        >>> scorer = load("model")
        >>> scorer.num_samples, scorer.target_error
        (4096, 0.1)
    """
    bundle, folder = open_bundle(path, verify_key=None if verify_key is None else Path(verify_key))
    scorer = Scorer(bundle, threads=threads, slots=slots)
    scorer.path = folder
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
