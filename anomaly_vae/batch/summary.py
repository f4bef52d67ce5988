"""The counts of a batch job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from anomaly_vae.calibration import Discoveries
from anomaly_vae.table import Fault

__all__ = ["ScoreSummary"]

# Why a step of a series has no score although nothing is wrong with its row.
_EXPECTED = ("warm-up", "gap", "missing", "no window")

# Attributes of the counts that a job goes on with; the others are kept with them, or come with the decision.
_COUNTS = ("rows", "anomalies", "written", "most_anomalous_row", "explained")


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
        discoveries: The decision over all rows; None before it, and if each row has its own decision.
        decided: Rows that have got the flag of this decision; None before it.
        skipped: Files that were left out, and what is wrong with them.
        was_complete: Whether there was nothing to do: the output to go on with was complete.
        stages: Seconds for which each stage was busy, also in processes that were stopped, such as "read", "score" and
            "write"; empty if they are not measured.
        resumed: Rows that processes which were stopped have done.
    """

    rows: int = 0
    anomalies: int | None = None
    unscored: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    written: int | None = None
    most_anomalous_row: int | None = None
    explained: int | None = None
    discoveries: Discoveries | None = None
    decided: int | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    was_complete: bool = False
    stages: dict[str, float] = field(default_factory=dict)
    resumed: int = 0

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
        if self.was_complete:
            return "is complete already, nothing is left to do"
        text = f"{self.rows:,} rows" + ("" if self.anomalies is None else f", {self.anomalies:,} flagged")
        if self.unscored:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.unscored.items()))
            example = min(self.examples.values(), key=len)
            text += f", {self.unscored.total():,} not scored ({kinds}; for example {example})"
        if self.discoveries is not None:
            text += f", {_described(self.discoveries)}"
        text += "" if self.written is None else f", {self.written:,} written"
        if self.skipped:
            files = "1 file" if len(self.skipped) == 1 else f"{len(self.skipped):,} files"
            text += f"; {files} left out, for example: {next(iter(self.skipped.values()))}"
        return text

    def state(self) -> dict[str, Any]:
        """Return the counts as plain values, to go on with in another process; there is no decision yet."""
        values = {name: getattr(self, name) for name in _COUNTS}
        return {**values, "unscored": dict(self.unscored), "examples": dict(self.examples)}

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the counts that :meth:`state` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])
        self.unscored, self.examples = Counter(state["unscored"]), dict(state["examples"])

    def facts(self) -> dict[str, Any]:
        """Return the counts for programs: plain values with the names of the attributes."""
        return {
            "rows": self.rows,
            "written": self.rows if self.written is None else self.written,
            "unscored": dict(self.unscored),
            "examples": dict(self.examples),
            **({"skipped": dict(self.skipped)} if self.skipped else {}),
            **({} if self.discoveries is None else {"fdr": _facts_of(self.discoveries)}),
        }

    @property
    def warning(self) -> str | None:
        """Why nothing is flagged although rows are as unusual as a p-value can say; None if that is not so."""
        found = self.discoveries
        if found is None or found.num_flagged or not found.num_smallest:
            return None
        rows = "row has" if found.num_smallest == 1 else "rows have"
        return (
            f"--fdr {found.rate:g} flags nothing, although {found.num_smallest:,} {rows} the smallest p-value that "
            f"{found.grid.num_rows:,} calibration rows can give, {found.grid.smallest_p_value:.3g}: among "
            f"{found.num_tests:,} rows, {found.needed:,} with it are needed; calibrate with about "
            f"{found.rows_needed:,} rows or more, score smaller batches if anomalies come together, or use a higher "
            "--fdr. The rows with the smallest p-values: --top"
        )


def _described(found: Discoveries) -> str:
    """Return the decision as the end of a line."""
    text = f"by --fdr {found.rate:g} over {found.num_tests:,} p-values"
    if found.p_value_cut_off is None:
        return f"{text}: none is small enough"
    return (
        f"{text}: those up to {found.p_value_cut_off:.3g}, expected false alarms among them at most "
        f"{found.expected_false_alarms:.3g}"
    )


def _facts_of(found: Discoveries) -> dict[str, Any]:
    """Return the decision for programs."""
    return {
        "rate": found.rate,
        "tests": found.num_tests,
        "flagged": found.num_flagged,
        "p_value_cut_off": found.p_value_cut_off,
        "expected_false_alarms": found.expected_false_alarms,
        "smallest_p_value": found.grid.smallest_p_value,
        "rows_at_smallest": found.num_smallest,
        "rows_at_smallest_needed": found.needed,
        "calibration_rows": found.grid.num_rows,
    }
