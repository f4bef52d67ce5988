"""The results of scoring, one entry per row. They need no networks, so that clients can use them too."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, SupportsIndex, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = ["FlagRow", "Flags", "Part", "ScoreRow", "Scores", "join"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """The scores of one row, as plain Python values. The fields are those of :class:`Scores`."""

    log_px: float
    score: float
    elbo: float
    std_error: float
    ess_ratio: float
    pareto_k: float
    reliable: bool
    p_value: float | None
    is_anomaly: bool | None
    num_samples: int
    reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagRow:
    """The decision on one row, as plain Python values. The fields are those of :class:`Flags`."""

    is_anomaly: bool
    num_samples: int
    reason: str | None


class _Table:
    """Conversions that :class:`Scores` and :class:`Flags` share: each field is a column."""

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with one column per field; None where there is no value.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        pd = _optional("pandas", "to_pandas()")
        columns = vars(self)
        num_rows = len(columns["reason"])
        return pd.DataFrame({name: [None] * num_rows if of is None else of for name, of in columns.items()})

    def to_arrow(self) -> Any:
        """Return an Arrow table with one column per field; NaN and None become nulls.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        pa = _optional("pyarrow", "to_arrow()")
        columns = vars(self)
        kinds = {"p_value": pa.float64(), "is_anomaly": pa.bool_(), "reason": pa.string()}
        empty = [None] * len(columns["reason"])
        return pa.table(
            {
                name: pa.array(empty if of is None else of, type=kinds.get(name), from_pandas=True)
                for name, of in columns.items()
            }
        )


@dataclass(frozen=True, kw_only=True)
class Scores(_Table):
    """Scores of N rows. Log-densities are nats in data units; higher is more normal.

    Every array has shape (N,). ``scores[3]`` is one row, ``scores[3:5]`` are some rows, ``len(scores)`` is N.

    Attributes:
        log_px: Importance-sampled log p(x) of the cells that are present.
        score: ``log_px``, made comparable between rows with different missing cells: see
            :mod:`anomaly_vae.columns.adjustment`. It equals ``log_px`` where no cell is missing, and is lower where a
            value that training never had puts the row below all others. Threshold, p-value and flag use the score.
        elbo: Evidence lower bound under the encoder's own q(z|x), at most ``log_px``.
        std_error: Standard error of ``log_px``; NaN where one scrambling holds over half of the total weight.
        ess_ratio: Effective sample size divided by the number of samples behind ``log_px``, in (0, 1].
        pareto_k: Tail index of the importance weights; larger means a heavier tail. NaN with fewer than 64 samples
            behind ``log_px``.
        reliable: Whether ``log_px`` and ``std_error`` can be trusted: see :mod:`anomaly_vae.density.diagnostics`.
        p_value: Conformal p-value, in (0, 1]; None with a fixed ``num_samples``, and with ``max_std_error``.
        is_anomaly: Whether the score is below the threshold; None where ``p_value`` is None.
        num_samples: Decoder evaluations used, also those that searched for modes.
        reason: Which values training never had (a constant column changed, a category is new), or that all cells are
            missing; otherwise None.
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
        return len(self.log_px)

    @overload
    def __getitem__(self, rows: SupportsIndex) -> ScoreRow: ...

    @overload
    def __getitem__(self, rows: slice) -> Scores: ...

    def __getitem__(self, rows: SupportsIndex | slice) -> ScoreRow | Scores:
        if isinstance(rows, slice):
            return Scores(**_sliced(self, rows))
        return ScoreRow(**_row(self, rows))

    def __repr__(self) -> str:
        flagged = "uncalibrated" if self.is_anomaly is None else f"{int(self.is_anomaly.sum())} anomalies"
        return f"Scores({len(self)} rows, {flagged}, fields {', '.join(f.name for f in fields(self))})"


@dataclass(frozen=True, kw_only=True)
class Flags(_Table):
    """Decisions on N rows; every array has shape (N,). Rows are taken and counted as in :class:`Scores`.

    Attributes:
        is_anomaly: As in :class:`Scores`.
        num_samples: Decoder evaluations used.
        reason: As in :class:`Scores`.
    """

    is_anomaly: NDArray[np.bool_]
    num_samples: NDArray[np.int64]
    reason: list[str | None]

    def __len__(self) -> int:
        return len(self.is_anomaly)

    @overload
    def __getitem__(self, rows: SupportsIndex) -> FlagRow: ...

    @overload
    def __getitem__(self, rows: slice) -> Flags: ...

    def __getitem__(self, rows: SupportsIndex | slice) -> FlagRow | Flags:
        if isinstance(rows, slice):
            return Flags(**_sliced(self, rows))
        return FlagRow(**_row(self, rows))

    def __repr__(self) -> str:
        return f"Flags({len(self)} rows, {int(self.is_anomaly.sum())} anomalies)"


Part = TypeVar("Part", bound=Scores | Flags)


def join(parts: Sequence[Part]) -> Part:
    """Concatenate the results of consecutive rows, at least one part; all parts must have the same budget."""
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


def _sliced(results: Scores | Flags, rows: slice) -> dict[str, Any]:
    return {name: None if of is None else of[rows] for name, of in vars(results).items()}


def _row(results: Scores | Flags, row: SupportsIndex) -> dict[str, Any]:
    """Return row ``row`` as Python values; raise IndexError if there is no such row."""
    values = {name: None if of is None else of[row] for name, of in vars(results).items()}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _optional(package: str, method: str) -> Any:
    """Import a package by its name; scoring and serving must work where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{method} needs {package}: pip install {package}", name=package) from error
