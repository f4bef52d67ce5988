"""The counts of a batch job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from anomaly_vae.table import Batch

__all__ = ["ScoreSummary"]


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
    """

    rows: int = 0
    anomalies: int | None = None
    unscored: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    written: int | None = None
    most_anomalous_row: int | None = None

    def note(self, batch: Batch) -> None:
        """Add the rows and faults of a batch."""
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
