"""The results of scoring, one entry per row. They need no networks, so that clients can use them too."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray, row_number, row_numbers
from anomaly_vae.display import as_html, as_rich, as_text

__all__ = ["FlagRow", "Flags", "Part", "ScoreRow", "Scores", "join"]

# Fields that say something about all rows together.
_OF_ALL_ROWS = ("model_version", "bundle_digest")

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """The scores of one row, as plain Python values. The fields are those of ``Scores``."""

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
    contrast: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagRow:
    """The decision on one row, as plain Python values. The fields are those of ``Flags``."""

    is_anomaly: bool
    num_samples: int
    reason: str | None


class _Table(Generic[Row]):
    """What ``Scores`` and ``Flags`` share: each field is a column."""

    reason: list[str | None]

    # The class of one row, and the fields that the text shows.
    _row: ClassVar[type[Any]]
    _shown: ClassVar[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.reason)

    def __iter__(self) -> Iterator[Row]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Row: ...

    @overload
    def __getitem__(self, rows: slice | NDArray[Any] | Sequence[int]) -> Self: ...

    def __getitem__(self, rows: Any) -> Row | Self:
        if not isinstance(rows, slice):
            number = row_number(rows, len(self))
            if number is not None:
                row: Row = self._row(**{name: _plain(of, number) for name, of in self.by_row().items()})
                return row
            rows = row_numbers(rows, len(self))
        return type(self)(**vars(self) | {name: _taken(of, rows) for name, of in self.by_row().items()})

    def by_row(self) -> dict[str, Any]:
        """Return the fields that have an entry for each row, by name; some may be None."""
        return {name: of for name, of in vars(self).items() if name not in _OF_ALL_ROWS}

    def to_pandas(self, index: Any = None) -> Any:
        """Return a pandas DataFrame with one column per field.

        Numbers are float64 and int64, NaN where there is no value. ``reliable`` and ``is_anomaly`` are bool; an
        ``is_anomaly`` that is None becomes the nullable "boolean". ``reason`` is the nullable "string".

        Args:
            index: N row labels, such as ``df.index`` of the scored DataFrame; None for 0 to N - 1.

        Raises:
            ModuleNotFoundError: pandas is not installed.
            ValueError: ``index`` has another length.
        """
        pd = _optional("pandas", "to_pandas()")
        empty = [None] * len(self)
        columns = self._columns() | {"reason": pd.array(self.reason, dtype="string")}
        for name in ("reliable", "is_anomaly"):
            if isinstance(columns.get(name), list):  # with nulls
                columns[name] = pd.array(columns[name], dtype="boolean")
        for name, dtype in {"p_value": "float64", "is_anomaly": "boolean"}.items():
            if name in columns and columns[name] is None:
                columns[name] = pd.Series(empty, dtype=dtype).array
        if index is not None and len(index) != len(self):
            raise ValueError(f"index has {len(index)} labels, there are {len(self)} rows")
        return pd.DataFrame(columns, index=index)

    def to_arrow(self) -> Any:
        """Return an Arrow table with one column per field; NaN and None become nulls.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        pa = _optional("pyarrow", "to_arrow()")
        kinds = {"p_value": pa.float64(), "is_anomaly": pa.bool_(), "reliable": pa.bool_(), "reason": pa.string()}
        empty = [None] * len(self)
        return pa.table(
            {
                name: pa.array(empty if of is None else of, type=kinds.get(name), from_pandas=True)
                for name, of in self._columns().items()
            }
        )

    def to_polars(self) -> Any:
        """Return a polars DataFrame with one column per field; NaN and None become nulls.

        Raises:
            ModuleNotFoundError: polars is not installed.
        """
        pl = _optional("polars", "to_polars()")
        kinds = {"p_value": pl.Float64, "is_anomaly": pl.Boolean, "reliable": pl.Boolean, "reason": pl.String}
        empty = [None] * len(self)
        return pl.DataFrame(
            [
                pl.Series(name, empty if of is None else of, dtype=kinds.get(name), nan_to_null=True)
                for name, of in self._columns().items()
            ]
        )

    def __repr__(self) -> str:
        """Return the number of rows and anomalies, and the main fields of the first and the last 5 rows."""
        return as_text(self._title(), self._main())

    def _repr_html_(self) -> str:
        """Return all fields of the first and the last 5 rows, for notebooks."""
        return as_html(self._title(), {name: of for name, of in self.by_row().items() if of is not None})

    def __rich__(self) -> Any:
        """Return the main fields of the first and the last 5 rows, for ``rich.print``."""
        return as_rich(self._title(), self._main())

    def _columns(self) -> dict[str, Any]:
        """Return the fields to convert; a list of truth values may hold None. Most models have no contrast."""
        return {name: of for name, of in self.by_row().items() if of is not None or name != "contrast"}

    def _title(self) -> str:
        flags = vars(self)["is_anomaly"]
        flagged = "no p-values and no flags" if flags is None else _counted(int(flags.sum()), "anomaly", "anomalies")
        return f"{type(self).__name__}: {_counted(len(self), 'row', 'rows')}, {flagged}"

    def _main(self) -> dict[str, Any]:
        """Return the fields to show where space is short, without those that hold nothing."""
        columns = {name: vars(self)[name] for name in self._shown}
        return {name: of for name, of in columns.items() if of is not None and (name != "reason" or any(of))}


@dataclass(frozen=True, kw_only=True, repr=False)
class Scores(_Table[ScoreRow]):
    """Scores of N rows. Log-densities are nats in data units; higher is more normal.

    Every array has shape (N,). ``len(scores)`` is N, and a loop over ``scores`` gives a ``ScoreRow`` per row.
    ``scores[3]`` is one row. A slice, a mask or numbers of rows give ``Scores`` again: ``scores[3:5]``,
    ``scores[scores.is_anomaly]``, ``scores[np.argsort(scores.score)]``.

    Attributes:
        log_px: Importance-sampled log p(x) of the cells that are present, nats.
        score: ``log_px``, made comparable between rows with different missing cells, nats. It equals ``log_px`` where
            no cell is missing, and is lower where a value that training never had puts the row below all others.
            Threshold, p-value and flag use the score.
        elbo: Evidence lower bound under the encoder's own q(z|x), at most ``log_px``, nats.
        std_error: Standard error of ``log_px``, nats; NaN where one scrambling holds over half of the total weight.
        ess_ratio: Effective sample size divided by the number of samples behind ``log_px``, in (0, 1].
        pareto_k: Tail index of the importance weights; larger means a heavier tail. NaN with fewer than 64 samples
            behind ``log_px``.
        reliable: Whether ``log_px`` and ``std_error`` can be trusted.
        p_value: Conformal p-value, in (0, 1]: of the lower tail, or of both; None with a fixed ``num_samples``, and
            with ``max_std_error``.
        is_anomaly: Whether the score is below the threshold, or above the upper one if there is one; None where
            ``p_value`` is None.
        num_samples: Decoder evaluations used, also those that searched for modes.
        reason: Which values training never had (a constant column changed, a category is new), or that all cells are
            missing, or that only the contrast decided; otherwise None. A list of N.
        contrast: Log-odds that an image is like those of the training rather than a corrupted one, nats.
            None for models without a contrast, which only those of images have.
        model_version: The version that scored the rows; None unless a service did.
        bundle_digest: The digest of its bundle, likewise.

    Examples:
        >>> import numpy as np
        >>> from anomaly_vae import load
        >>> scores = load("model").score(np.array([[1e5, 0.0, 1.0, 21.0, 7.0], [1e5, 0.0, 1.0, 21.0, 8.0]]))
        >>> len(scores), len(scores[scores.is_anomaly])
        (2, 1)
        >>> scores[1].reason
        "column 'unit' was always 7.0 in training, is 8.0"
        >>> scores.to_pandas(index=["first", "second"])["is_anomaly"].to_dict()
        {'first': False, 'second': True}
    """

    _row: ClassVar[type[Any]] = ScoreRow
    _shown: ClassVar[tuple[str, ...]] = ("log_px", "std_error", "p_value", "is_anomaly", "reason")

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
    contrast: FloatArray | None = None
    model_version: str | None = None
    bundle_digest: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Flags(_Table[FlagRow]):
    """Decisions on N rows; every array has shape (N,). Rows are taken, counted and converted as in ``Scores``.

    Attributes:
        is_anomaly: Whether the row is an anomaly.
        num_samples: Decoder evaluations used; 0 for rows that were decided without any.
        reason: As in ``Scores``.
        model_version: As in ``Scores``.
        bundle_digest: As in ``Scores``.
    """

    _row = FlagRow
    _shown = ("is_anomaly", "num_samples", "reason")

    is_anomaly: NDArray[np.bool_]
    num_samples: NDArray[np.int64]
    reason: list[str | None]
    model_version: str | None = None
    bundle_digest: str | None = None


Part = TypeVar("Part", bound=Scores | Flags)


def join(parts: Sequence[Part]) -> Part:
    """Concatenate the results of consecutive rows, at least one part; all parts must have the same budget."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {}
    for field in fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        if field.name in _OF_ALL_ROWS:
            joined[field.name] = values[0] if len(set(values)) == 1 else None
        elif field.name == "reason":
            joined[field.name] = [reason for part in parts for reason in part.reason]
        else:
            joined[field.name] = None if values[0] is None else np.concatenate(values)
    return type(parts[0])(**joined)


def _taken(values: Any, rows: slice | NDArray[np.intp]) -> Any:
    """Return the entries of a field for some rows."""
    if values is None:
        return None
    if isinstance(values, list) and not isinstance(rows, slice):
        return [values[row] for row in rows]
    return values[rows]


def _plain(values: Any, row: int) -> Any:
    """Return the entry of a field for one row as a Python value."""
    value = None if values is None else values[row]
    return value.item() if isinstance(value, np.generic) else value


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _optional(package: str, method: str) -> Any:
    """Import a package by its name; scoring and serving must work where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{method} needs {package}: pip install {package}", name=package) from error
