"""The counts of a batch job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from anomaly_vae.table import Fault

__all__ = ["ScoreSummary"]

# Why a step of a series has no score although nothing is wrong with its row.
_EXPECTED = ("warm-up", "gap", "missing", "no window")


class _WithFaults(Protocol):
    @property
    def faults(self) -> Sequence[Fault | None]: ...


@dataclass
class ScoreSummary:
    """Counts of a batch job.

    Attributes:
        rows: Rows read.
        anomalies: Rows flagged; None if the options give no flags.
        unscored: Number of rows without a score, by kind of fault.
        examples: The first row of each kind of fault: its number (from 1) and what is wrong.
        written: Rows written; None if it is every row.
        most_anomalous_row: Number (from 1) of the most anomalous row; None if there are no scores.
        explained: Rows explained; None if none is to be.
    """

    rows: int = 0
    anomalies: int | None = None
    unscored: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    written: int | None = None
    most_anomalous_row: int | None = None
    explained: int | None = None

    @property
    def has_faults(self) -> bool:
        """Whether rows have no score for another reason than that a series starts or has gaps."""
        return any(kind not in _EXPECTED for kind in self.unscored)

    def note(self, batch: _WithFaults) -> None:
        """Add the rows and faults of a batch: one fault or None per row."""
        for i, fault in enumerate(batch.faults):
            if fault is not None:
                self.unscored[fault.kind] += 1
                self.examples.setdefault(fault.kind, f"row {self.rows + i + 1}: {fault.text}")
        self.rows += len(batch.faults)

    def describe(self) -> str:
        """Return the counts as one line of text."""
        text = f"{self.rows:,} rows" + ("" if self.anomalies is None else f", {self.anomalies:,} flagged")
        if self.unscored:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.unscored.items()))
            example = min(self.examples.values(), key=len)
            text += f", {self.unscored.total():,} not scored ({kinds}; for example {example})"
        return text + ("" if self.written is None else f", {self.written:,} written")

    def facts(self) -> dict[str, Any]:
        """Return the counts for programs: plain values with the names of the attributes."""
        return {
            "rows": self.rows,
            "written": self.rows if self.written is None else self.written,
            "unscored": dict(self.unscored),
            "examples": dict(self.examples),
        }
