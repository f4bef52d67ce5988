"""What scoring gives: one entry per row. Apart from the scorer, so that clients need no networks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray

__all__ = ["Flags", "Scores", "join", "warn_uncalibrated"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of N rows; every array has shape (N,), log-densities are nats in data units, higher is more normal.

    Attributes:
        log_px: Importance-sampled log p(x), of the cells that are there.
        score: ``log_px`` made comparable between rows with different cells missing, and equal to it where none is: see
            :mod:`anomaly_vae.adjustment`. Threshold, p-value and flag are about the score.
        elbo: Evidence lower bound of the encoder's own q(z|x), at most ``log_px``.
        std_error: Standard error of ``log_px``; NaN where one scrambling holds over half of the total weight.
        ess_ratio: Effective sample size over the samples behind ``log_px``, in (0, 1].
        pareto_k: Tail of the importance weights: the larger, the heavier; NaN with fewer than 256 samples behind
            ``log_px``.
        reliable: Whether ``log_px`` and its error can be taken at their word: see :mod:`anomaly_vae.diagnostics`.
        p_value: Conformal p-value, in (0, 1]; None at another budget than the calibrated one or with ``max_std_error``.
        is_anomaly: Whether the score is below the threshold; None where there is no p-value.
        num_samples: Decoder evaluations spent.
        reason: Why a row ranks below all others (a constant column changed, a category is new), or that all of it is
            missing; else None.
    """

    log_px: FloatArray
    score: FloatArray
    elbo: FloatArray
    std_error: FloatArray
    ess_ratio: FloatArray
    pareto_k: FloatArray
    reliable: NDArray[np.bool_]
    p_value: FloatArray | None
    is_anomaly: NDArray[np.bool_] | None
    num_samples: NDArray[np.int64]
    reason: list[str | None]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.log_px)

    def __getitem__(self, rows: slice) -> Scores:
        """The scores of some rows."""
        some: dict[str, Any] = {name: None if of is None else of[rows] for name, of in vars(self).items()}
        return Scores(**some)

    def __repr__(self) -> str:
        """Rows and flags at a glance."""
        flagged = "uncalibrated" if self.is_anomaly is None else f"{int(self.is_anomaly.sum())} anomalies"
        return f"Scores({len(self)} rows, {flagged}, fields {', '.join(f.name for f in fields(self))})"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Decisions on N rows; every array has shape (N,).

    Attributes:
        is_anomaly: Whether the score is below the threshold.
        num_samples: Decoder evaluations spent.
        reason: As for :class:`Scores`.
    """

    is_anomaly: NDArray[np.bool_]
    num_samples: NDArray[np.int64]
    reason: list[str | None]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.is_anomaly)

    def __getitem__(self, rows: slice) -> Flags:
        """The decisions on some rows."""
        return Flags(**{name: values[rows] for name, values in vars(self).items()})

    def __repr__(self) -> str:
        """Rows and flags at a glance."""
        return f"Flags({len(self)} rows, {int(self.is_anomaly.sum())} anomalies)"


Part = TypeVar("Part", bound=Scores | Flags)


def join(parts: Sequence[Part]) -> Part:
    """What was found for consecutive rows as one, in order; all of one budget, and at least one part."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {}
    for field in fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "reason":
            joined[field.name] = [reason for part in parts for reason in part.reason]
        else:
            joined[field.name] = None if values[0] is None else np.concatenate(values)
    return type(parts[0])(**joined)


def warn_uncalibrated(num_samples: int | None, calibrated: int, max_std_error: float | None = None) -> None:
    """Warn the caller's caller if what was asked for has neither p-values nor flags."""
    if max_std_error is not None:
        warnings.warn(
            "with max_std_error rows have fewer samples than in the calibration: there is no p-value and no flag",
            stacklevel=3,
        )
        return
    if num_samples is not None and num_samples != calibrated:
        warnings.warn(
            f"{num_samples} samples a row were asked for, the calibration used {calibrated}: "
            "there is no p-value and no flag",
            stacklevel=3,
        )
