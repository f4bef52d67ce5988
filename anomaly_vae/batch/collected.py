"""What a report of a batch job shows, collected while its rows are scored, in bounded memory.

The state is plain JSON of a few 100 kB at most, so that a job that was stopped can go on in another process and end
with the same report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.results import FLAG_SCHEMA, OUTPUT_SCHEMA
from anomaly_vae.batch.most_anomalous import MostAnomalous, ShownRow
from anomaly_vae.batch.order_counts import OrderCounts
from anomaly_vae.batch.selection import order_keys
from anomaly_vae.columns.schema import Schema
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Fault

__all__ = ["NUM_P_PARTS", "Collector", "score_edges"]

# Equal parts of (0, 1] in which p-values are counted: the resolution of their distance to the calibration. Chosen, not
# measured.
NUM_P_PARTS = 1_000

# Bars of the histogram of scores between the outer ones, and the share of scores that either outer one may hold.
# Chosen, not measured: a few scores far below would leave all others in one bar.
_BARS, _TAIL = 40, 0.002

# Examples of each kind of fault, cells of a row, and letters of a text. Chosen, not measured: they bound the state.
_MOST_EXAMPLES, _MOST_CELLS, _MOST_LETTERS = 5, 40, 200

Thresholds = tuple[float, float | None]


class _Scored(Protocol):
    """What is needed of an :class:`anomaly_vae.batch.scored.ScoredBatch`."""

    @property
    def columns(self) -> list[pa.Array]: ...
    @property
    def faults(self) -> Sequence[Fault | None]: ...
    @property
    def usable(self) -> NDArray[np.bool_]: ...
    @property
    def scores(self) -> Scores | Flags: ...
    @property
    def ranks_lowest(self) -> NDArray[np.bool_]: ...
    @property
    def inputs(self) -> FloatArray | None: ...


class Collector:
    """Takes the batches of a job.

    Attributes:
        num_scored: Rows with a score or a flag.
        num_flagged: Flagged rows; None if there are no flags.
        num_samples: Decoder evaluations of all rows.
        edges: The ends of the bars of scores, nats; None before the first score.
        score_counts: Rows below the first edge, in each bar, and from the last edge on: two more than bars.
        p_counts: Rows with a p-value in each part of (0, 1]; None if there are no p-values.
        most: The most anomalous rows.
        unscored: For each kind of fault the number of rows and up to 5 examples.
        scored_in_order, flagged_in_order: Rows with a score, and flagged rows, along the input.
    """

    def __init__(self, schema: Schema, edges: FloatArray | None = None) -> None:
        """Collect for a model.

        Args:
            schema: Its columns, for the cells of the most anomalous rows.
            edges: The ends of the bars of scores, increasing, nats; None to take them from the first scores.
        """
        self._schema, self._names, self._decides_later = schema, list[str](), False
        self._thresholds: Thresholds = (0.0, None)
        self.num_scored = self.num_samples = 0
        self.num_flagged: int | None = None
        self.edges = edges
        self.score_counts: NDArray[np.int64] = np.zeros(0 if edges is None else len(edges) + 1, dtype=np.int64)
        self.p_counts: NDArray[np.int64] | None = None
        self.most = MostAnomalous()
        self.unscored: dict[str, dict[str, Any]] = {}
        self.scored_in_order, self.flagged_in_order = OrderCounts(), OrderCounts()

    @property
    def has_scores(self) -> bool:
        """Whether any row has a score, not only a flag."""
        return bool(self.score_counts.any())

    def begin(self, output: pa.Schema, thresholds: Thresholds, *, decides_later: bool = False) -> None:
        """Say what the batches are like, before the first one of a process.

        Args:
            output: The columns of a batch: those of the input that are kept, then the results.
            thresholds: The threshold and the upper one, or None, nats.
            decides_later: Whether flags come from :meth:`decided` only.
        """
        results = {*OUTPUT_SCHEMA.names, *FLAG_SCHEMA.names}
        self._names = []
        for name in output.names:
            if name in results:  # no kept column has the name of a result
                break
            self._names.append(name)
        self._thresholds, self._decides_later = thresholds, decides_later

    def add(self, batch: _Scored, first_row: int) -> None:
        """Take a batch; batches come in input order.

        Args:
            batch: Some consecutive rows.
            first_row: The number of the first one, from 1.
        """
        usable, scores = batch.usable, batch.scores
        self.num_scored += len(scores)
        self.num_samples += int(scores.num_samples.sum())
        self.scored_in_order.add(usable, first_row)
        if scores.is_anomaly is not None and not self._decides_later:
            self._count_flags(scores.is_anomaly, usable, first_row)
        if len(scores) < len(usable):
            self._note_faults(batch, first_row)
        if isinstance(scores, Scores):
            self._add_scores(batch, scores, first_row)

    def decided(self, flags: NDArray[np.bool_], usable: NDArray[np.bool_], first_row: int) -> None:
        """Take flags that were decided after all rows were scored; from row 1 on they replace all earlier ones.

        Args:
            flags: Of the rows with a score, shape (n,).
            usable: Which of the rows have one, shape (N,).
            first_row: The number of the first row, from 1.
        """
        if first_row == 1:
            self.num_flagged, self.flagged_in_order = 0, OrderCounts()
        full = self._count_flags(flags, usable, first_row)
        self.most.decided(full, first_row)

    def state(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return {
            "num_scored": self.num_scored,
            "num_flagged": self.num_flagged,
            "num_samples": self.num_samples,
            "edges": None if self.edges is None else self.edges.tolist(),
            "score_counts": self.score_counts.tolist(),
            "p_counts": None if self.p_counts is None else self.p_counts.tolist(),
            "most": self.most.state(),
            "unscored": {kind: {**each, "examples": list(each["examples"])} for kind, each in self.unscored.items()},
            "scored_in_order": self.scored_in_order.state(),
            "flagged_in_order": self.flagged_in_order.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.num_scored, self.num_samples = int(state["num_scored"]), int(state["num_samples"])
        self.num_flagged = state["num_flagged"]
        self.edges = None if state["edges"] is None else np.array(state["edges"], dtype=np.float64)
        self.score_counts = np.array(state["score_counts"], dtype=np.int64)
        self.p_counts = None if state["p_counts"] is None else np.array(state["p_counts"], dtype=np.int64)
        self.most.restore(state["most"])
        self.unscored = {kind: {**each, "examples": list(each["examples"])} for kind, each in state["unscored"].items()}
        self.scored_in_order.restore(state["scored_in_order"])
        self.flagged_in_order.restore(state["flagged_in_order"])

    def _count_flags(self, flags: NDArray[np.bool_], usable: NDArray[np.bool_], first_row: int) -> NDArray[np.bool_]:
        full = np.zeros(len(usable), dtype=bool)
        full[usable] = flags
        self.num_flagged = (self.num_flagged or 0) + int(flags.sum())
        self.flagged_in_order.add(full, first_row)
        return full

    def _note_faults(self, batch: _Scored, first_row: int) -> None:
        for i in np.flatnonzero(~batch.usable).tolist():
            fault = batch.faults[i]
            if fault is None:
                continue
            found = self.unscored.setdefault(fault.kind, {"rows": 0, "examples": []})
            found["rows"] += 1
            if len(found["examples"]) < _MOST_EXAMPLES:
                found["examples"].append(f"row {first_row + i}: {fault.text}"[:_MOST_LETTERS])

    def _add_scores(self, batch: _Scored, scores: Scores, first_row: int) -> None:
        if not len(scores):
            return
        if self.edges is None:
            self.edges = score_edges(scores.score, self._thresholds)
            self.score_counts = np.zeros(len(self.edges) + 1, dtype=np.int64)
        places = np.searchsorted(self.edges, scores.score, side="right")
        self.score_counts += np.bincount(places, minlength=len(self.score_counts))
        if scores.p_value is not None:
            # Up to and with the upper edge: p-values are multiples of 1 / (n + 1), and 0 is none of them.
            parts = np.ceil(scores.p_value * NUM_P_PARTS * (1.0 - 1e-12)).astype(np.intp) - 1
            counts = np.bincount(parts, minlength=NUM_P_PARTS)
            self.p_counts = counts if self.p_counts is None else self.p_counts + counts
        numbers = first_row + np.flatnonzero(batch.usable)
        keys = order_keys(scores, batch.ranks_lowest, numbers, self._thresholds)
        if keys is not None:
            self.most.add(keys, lambda place: self._shown(batch, scores, place, keys[place].tolist(), first_row))

    def _shown(self, batch: _Scored, scores: Scores, place: int, keys: list[float], first_row: int) -> ShownRow:
        """Return one of the rows with a score, by its place among them."""
        number = int(keys[-1])
        flags, p_values = None if self._decides_later else scores.is_anomaly, scores.p_value
        reason = scores.reason[place]
        columns = zip(self._names, batch.columns, strict=False)
        cells = [(name, _plain(column[number - first_row].as_py())) for name, column in columns]
        if batch.inputs is not None:
            known = set(self._names)
            row = batch.inputs[place].tolist()
            each = zip(self._schema.columns, row, strict=True)
            cells += [(of.name, _value(of.categories, value)) for of, value in each if of.name not in known]
        return ShownRow(
            number=number,
            keys=keys,
            score=float(scores.score[place]),
            p_value=None if p_values is None else float(p_values[place]),
            is_anomaly=None if flags is None else bool(flags[place]),
            reason=None if reason is None else reason[:_MOST_LETTERS],
            cells=cells[:_MOST_CELLS],
        )


def score_edges(scores: FloatArray, thresholds: Thresholds) -> FloatArray:
    """Return the ends of bars for scores, such that the lower threshold is one of them, nats, increasing.

    Args:
        scores: Usual scores, nats; those that are not finite are ignored.
        thresholds: The threshold and the upper one, or None, nats.
    """
    low, high = thresholds
    marks = [low] if high is None else [low, high]
    finite = scores[np.isfinite(scores)]
    ends = [*marks, *(np.quantile(finite, [_TAIL, 1.0 - _TAIL]).tolist() if len(finite) else [])]
    start, end = min(ends), max(ends)
    width = (end - start) / _BARS or 1.0
    below, above = int(np.ceil((low - start) / width)), int(np.ceil((end - low) / width))
    # Two bars more on either side: new scores lie a little beyond the usual ones.
    return np.asarray(low + width * np.arange(-below - 2, above + 3), dtype=np.float64)


def _value(categories: Sequence[str] | None, value: float) -> Any:
    """Return a cell of the model as people know it: a category by its name."""
    if not categories or np.isnan(value):
        return _plain(value)
    code = int(value)
    return categories[code][:_MOST_LETTERS] if 0 <= code < len(categories) else "a new value"


def _plain(value: Any) -> Any:
    """Return a cell as a value that JSON can hold: None, a truth value, a number or a text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None if np.isnan(value) else str(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text[:_MOST_LETTERS]
