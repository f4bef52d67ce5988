"""Which scored rows are written: every row, the flagged ones, or the most anomalous ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.assessment.ranking import order_columns
from anomaly_vae.batch.explaining import RowExplainer, ToExplain
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Writer

__all__ = ["NUM_KEYS", "ROW", "LowestRow", "Part", "Selection", "order_keys"]

# The column with the number of the input row, from 1.
ROW = pa.field("row", pa.int64())

# Rows held beyond twice N before they are reduced to the N most anomalous ones. Chosen, not measured: sorting more rows
# at a time costs memory, fewer cost time when N is small.
_SPARE_ROWS = 8_192


# The number of keys of a row; see order_keys.
NUM_KEYS = 4


class Part(NamedTuple):
    """The results of some consecutive rows of the input.

    Attributes:
        records: Rows of the output, one per input row.
        usable: Which of them have scores, shape (N,).
        flags: Which of the rows with scores are flagged, shape (n,); None without flags.
        keys: Their :func:`order_keys`; needed for the most anomalous rows.
        explained: Which of the rows with scores are explained, if there is an explainer.
    """

    records: pa.RecordBatch
    usable: NDArray[np.bool_]
    flags: NDArray[np.bool_] | None
    keys: FloatArray | None
    explained: ToExplain | None = None


class Selection:
    """Chooses rows to write from batch to batch.

    Attributes:
        is_partial: Whether rows may be left out; the output then starts with the column ``row``.
    """

    def __init__(self, *, only_flagged: bool, top: int | None) -> None:
        """Choose flagged rows, the ``top`` most anomalous rows, or the most anomalous ones of the flagged rows."""
        if top is not None and top < 1:
            raise ConfigError(f"--top must be at least 1, got {top}")
        self.is_partial = only_flagged or top is not None
        self._only_flagged = only_flagged
        self._top = None if top is None else _Top(top)

    @property
    def fields(self) -> list[pa.Field]:
        """The columns that the choice puts before those of the rows."""
        return [ROW] if self.is_partial else []

    def check(self, options: ScoreOptions, num_samples: int | None = None) -> None:
        """Raise ConfigError if the options of scoring do not give what the choice needs.

        Args:
            options: What is computed.
            num_samples: The cap of the calibration; None if it is not known yet.
        """
        if self._top and options.flag_only:
            raise ConfigError("--top needs scores, and --flag-only gives none; leave out one of the two")
        if self._only_flagged:
            reason = options.uncalibrated_reason(num_samples or options.num_samples or 0)
            if reason is not None:
                raise ConfigError(f"--only-flagged needs flags, and there are none: {reason}; leave out one of the two")

    @contextlib.contextmanager
    def writing(
        self, writer: Writer, summary: ScoreSummary, explainer: RowExplainer | None = None
    ) -> Iterator[Selection]:
        """Write the chosen rows with a writer and count them; the most anomalous rows are written at the end.

        Args:
            writer: Takes the rows, with the columns of the explainer at their end.
            summary: Counts them.
            explainer: Explains the rows that are written.
        """
        self._writer, self._summary, self._explainer = writer, summary, explainer
        yield self
        if self._top is not None:
            for records, explained in self._top.rows():
                self._write(records, explained)

    @property
    def is_ordered(self) -> bool:
        """Whether the most anomalous rows are chosen."""
        return self._top is not None

    @property
    def most(self) -> int | None:
        """The number of most anomalous rows that are chosen; None for all."""
        return None if self._top is None else self._top.num_rows

    def write(self, part: Part) -> None:
        """Write those rows of a part that are chosen, or hold them until the end."""
        records, usable, _, keys, explained = part = self.chosen(part)
        if not self.is_partial:
            self._write(records, None if explained is None else explained.among(usable))
        elif self._top is None:
            self._write(records, explained)
        elif keys is not None:
            self._top.add(records, keys, explained)

    def chosen(self, part: Part) -> Part:
        """Return the rows that may be written, as far as the part itself can tell: all of them have scores, if any."""
        if not self.is_partial:
            return part
        records, usable, flags, keys, explained = part
        chosen = flags if self._only_flagged and flags is not None else np.ones(int(usable.sum()), dtype=bool)
        return Part(
            records.take(from_numpy(np.flatnonzero(usable)[chosen])),
            np.ones(int(chosen.sum()), dtype=bool),
            None if flags is None else flags[chosen],
            None if keys is None else keys[chosen],
            None if explained is None else explained.take(np.flatnonzero(chosen)),
        )

    def _write(self, records: pa.RecordBatch, explained: ToExplain | None) -> None:
        if self._explainer is not None and explained is not None:
            schema = pa.schema([*records.schema, *self._explainer.explaining.fields])
            columns = [*records.columns, *self._explainer.columns(explained)]
            records = pa.RecordBatch.from_arrays(columns, schema=schema)
        self._writer.write(records)
        if self._summary.written is not None:
            self._summary.written += records.num_rows


class _Top:
    """The N rows with the lowest keys, in their order. It holds at most 2 N + 8,192 rows and one batch.

    Rows that are explained have all their cells here, so at most 2 N of them are held.
    """

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._records: list[pa.RecordBatch] = []
        self._keys: list[FloatArray] = []
        self._explained: list[ToExplain] = []

    def add(self, records: pa.RecordBatch, keys: FloatArray, explained: ToExplain | None) -> None:
        self._records.append(records)
        self._keys.append(keys)
        if explained is not None:
            self._explained.append(explained)
        spare = _SPARE_ROWS if explained is None else 0
        if sum(map(len, self._keys)) > 2 * self.num_rows + spare:
            self._reduce()

    def rows(self) -> Iterator[tuple[pa.RecordBatch, ToExplain | None]]:
        """Yield the rows in parts, and which of them are explained."""
        if self._records:
            self._reduce()
        start = 0
        for records in self._records:
            part = np.arange(start, start + records.num_rows)
            yield records, self._explained[0].take(part) if self._explained else None
            start += records.num_rows

    def _reduce(self) -> None:
        keys = np.concatenate(self._keys)
        lowest = np.lexsort(keys.T[::-1])[: self.num_rows]
        table = pa.Table.from_batches(self._records).take(from_numpy(lowest))
        self._records, self._keys = table.combine_chunks().to_batches(), [keys[lowest]]
        if self._explained:
            self._explained = [ToExplain.join(self._explained).take(lowest)]


def order_keys(
    scores: Scores | Flags,
    ranks_lowest: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    thresholds: tuple[float, float | None],
) -> FloatArray | None:
    """Return the keys that sort rows from the most to the least anomalous one, shape (N, 4); None without scores.

    The order is that of :func:`anomaly_vae.assessment.ranking.order_columns`; equal rows keep that of the input.

    Args:
        scores, ranks_lowest, thresholds: As for that function.
        numbers: Numbers of the rows in the input, shape (N,).
    """
    if isinstance(scores, Flags):
        return None
    return np.column_stack([order_columns(scores, ranks_lowest, thresholds), numbers]).astype(np.float64)


class LowestRow:
    """The most anomalous row of the batches so far.

    Attributes:
        keys: Its :func:`order_keys`; None before the first row with a score.
    """

    def __init__(self, keys: list[float] | None = None) -> None:
        """Start with a row that is known, or with none."""
        self.keys = keys

    def update(self, keys: FloatArray | None) -> int | None:
        """Take the :func:`order_keys` of a batch, and return the number of the row; None if there are no scores."""
        if keys is not None and len(keys):
            lowest: list[float] = keys[np.lexsort(keys.T[::-1])[0]].tolist()
            self.keys = lowest if self.keys is None else min(self.keys, lowest)
        return None if self.keys is None else int(self.keys[-1])
