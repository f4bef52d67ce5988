"""Say why rows are anomalies, in columns of text beside their scores: only rows that are written are explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_numpy, from_strings
from anomaly_vae.columns.reading.missing import text_of
from anomaly_vae.columns.reading.records import TextReading
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import ConfigError
from anomaly_vae.explained import Why
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores

__all__ = ["Explaining", "RowExplainer", "ToExplain", "text_inputs", "with_text"]

# Excess from which on a column after the first is named, nats. Chosen: 2.5 % of Gaussian values reach it.
_WORTH_NATS = 2.0

# Characters of a text that training never had.
_LONGEST_TEXT = 60


@dataclass(frozen=True, kw_only=True)
class Explaining:
    """Which rows are explained, and how.

    Attributes:
        top: Columns to name of each row.
        every: Whether rows that are not flagged are explained as well.
    """

    top: int
    every: bool = False

    def check(self, options: ScoreOptions, num_samples: int | None = None) -> None:
        """Raise ConfigError if the options of scoring give no flags, which say what to explain.

        Args:
            options: What is computed.
            num_samples: The cap of the calibration; None if it is not known yet.
        """
        reason = options.uncalibrated_reason(num_samples or options.num_samples or 0)
        if reason is not None and not self.every:
            raise ConfigError(
                f"--explain is for flagged rows, and there are no flags: {reason}; leave out one of the two, or add "
                "--explain-all"
            )

    @property
    def fields(self) -> list[pa.Field]:
        """The columns of the output."""
        return [pa.field(f"why_{i + 1}", pa.string()) for i in range(self.top)]

    def wanted(self, scores: Scores | Flags) -> NDArray[np.bool_]:
        """Return which rows with scores are explained if they are written, shape (n,)."""
        if self.every or scores.is_anomaly is None:
            return np.full(len(scores), self.every)
        return scores.is_anomaly.astype(bool)


class ToExplain(NamedTuple):
    """Rows of which some are explained if they are written.

    Attributes:
        wanted: Which rows are explained, shape (n,).
        rows: These rows, float64 in data units, shape (m, D).
        texts: Their cells in columns of text, as the input has them, m rows; None if the input has none.
    """

    wanted: NDArray[np.bool_]
    rows: FloatArray
    texts: pa.RecordBatch | None = None

    def take(self, chosen: NDArray[np.intp]) -> ToExplain:
        """Return some of the rows, by their numbers."""
        places = (np.cumsum(self.wanted) - 1)[chosen][self.wanted[chosen]]
        texts = None if self.texts is None else self.texts.take(from_numpy(places))
        return ToExplain(self.wanted[chosen], self.rows[places], texts)

    def among(self, usable: NDArray[np.bool_]) -> ToExplain:
        """Return the same rows in their places among others (N,), which are not explained."""
        wanted = np.zeros(len(usable), dtype=bool)
        wanted[usable] = self.wanted
        return self._replace(wanted=wanted)

    @staticmethod
    def join(parts: Sequence[ToExplain]) -> ToExplain:
        """Return the rows of consecutive parts, at least one."""
        texts = [part.texts for part in parts if part.texts is not None]
        return ToExplain(
            np.concatenate([part.wanted for part in parts]),
            np.concatenate([part.rows for part in parts]),
            pa.Table.from_batches(texts).combine_chunks().to_batches()[0]
            if any(map(len, texts))
            else (*texts, None)[0],
        )


class _Explains(Protocol):
    def explain_rows(
        self, rows: FloatArray, *, top: int = 3, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]: ...


class RowExplainer:
    """Explains rows when they are written.

    Attributes:
        explaining: Which rows, and how.
        on_rows: Called with the number of rows just explained.
    """

    def __init__(self, scorer: _Explains, explaining: Explaining) -> None:
        """Take the model or the client of a service."""
        self._scorer, self.explaining = scorer, explaining
        self.on_rows: Callable[[int], None] | None = None

    def columns(self, rows: ToExplain) -> list[pa.Array]:
        """Return the columns of the output, null where a row is not explained or no further column is surprising."""
        found = self._scorer.explain_rows(rows.rows, top=self.explaining.top, on_rows=self.on_rows)
        texts: list[list[str | None]] = [[None] * len(rows.wanted) for _ in range(self.explaining.top)]
        for i, (row, whys) in enumerate(zip(np.flatnonzero(rows.wanted).tolist(), found, strict=True)):
            for k, (column, why) in enumerate(zip(texts, whys, strict=False)):
                if k == 0 or why.excess >= _WORTH_NATS:
                    column[row] = _with_text(why, rows.texts, i).text
        return list(map(from_strings, texts))


def text_inputs(schema: Schema) -> tuple[str, ...]:
    """Return the columns of text of a table to score: their cells may be texts that training never had."""
    return tuple(each.name for each in schema.reader().inputs if isinstance(each.reading, TextReading))


def _with_text(why: Why, texts: pa.RecordBatch | None, row: int) -> Why:
    """Return an explanation with the text of a cell that training never had."""
    if texts is None or why.column not in texts.schema.names:
        return why
    return with_text(why, text_of(texts.column(why.column)[row].as_py()))


def with_text(why: Why, text: str | None) -> Why:
    """Return an explanation whose value is this text if training never had its value."""
    if why.value is not None or text is None:
        return why
    short = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    return msgspec.structs.replace(why, value=short)
