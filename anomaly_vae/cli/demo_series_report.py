"""The output of the demo of series: the flagged spells, and how they fit what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from anomaly_vae.scorer import Scorer
from anomaly_vae.series.results import SeriesScores
from anomaly_vae.storage import atomic_file

__all__ = ["Spell", "print_flags", "spells_of"]


class Spell(NamedTuple):
    """Rows one after the other whose windows are flagged.

    Attributes:
        first, last: Their first and last row.
        lowest: The row with the lowest score.
    """

    first: int
    last: int
    lowest: int


def spells_of(scores: SeriesScores) -> list[Spell]:
    """Return the runs of flagged rows."""
    flagged = np.zeros(len(scores), dtype=bool) if scores.is_anomaly is None else scores.is_anomaly.astype(bool)
    borders = np.flatnonzero(np.diff(flagged, prepend=False, append=False))
    return [
        Spell(int(first), int(end) - 1, int(first + np.argmin(scores.score[first:end])))
        for first, end in zip(borders[::2], borders[1::2], strict=True)
    ]


def print_flags(scorer: Scorer, rows: Any, scores: SeriesScores, path: Path, *, quiet: bool) -> None:
    """Write the scores, and print the flagged spells, the share of the windows with El Niño that is flagged, and AUROC.

    Args:
        scorer: The model, of windows.
        rows: The scored table, with the columns month and el_nino.
        scores: One entry for each row.
        path: The CSV file to write.
        quiet: Whether only figures are printed.
    """
    from anomaly_vae.assessment.ranking import detection_quality

    table = scores.to_arrow().add_column(0, "el_nino", rows["el_nino"]).add_column(0, "month", rows["month"])
    with atomic_file(path, overwrite=True) as part:
        pyarrow.csv.write_csv(table, part)
    length = scorer.schema.shape.length  # type: ignore[union-attr]
    months = np.array(rows["month"].to_pylist(), dtype="datetime64[M]")
    holds = _holds(months, np.array(rows["el_nino"].to_pylist(), dtype=np.int64) == 1, length)
    usable = scores.has_window
    flagged = np.zeros(len(scores), dtype=bool) if scores.is_anomaly is None else scores.is_anomaly.astype(bool)
    quality = detection_quality(scores.score[usable & ~holds], scores.score[usable & holds])
    console = Console(highlight=False)
    if not quiet:
        console.print(_table(months, scores, holds))
    normal, target = usable & ~holds, scorer.info["calibration"]["effective_fpr"]
    console.print(
        f"AUROC {quality.auroc:.4f}   average precision {quality.average_precision:.4f}\n"
        f"false-positive rate {flagged[normal].mean():.4f} ({flagged[normal].sum()} of {normal.sum()} windows without "
        f"El Niño), at most {target:.4f} expected on average\n"
        f"flagged {flagged[usable & holds].sum()} of {(usable & holds).sum()} windows with at least one month of El "
        f"Niño; threshold {scorer.threshold:.2f} nats",
        soft_wrap=True,
    )


def _holds(months: NDArray[np.datetime64], is_event: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Return whether the window that ends at a row has a month of an event."""
    events = months[is_event]
    return np.array([bool(((events <= month) & (events > month - length)).any()) for month in months])


def _table(months: NDArray[np.datetime64], scores: SeriesScores, holds: NDArray[np.bool_]) -> Table:
    columns = ("from", "to", "lowest log p(x) ± error", "p-value", "truth")
    table = Table(*columns, title="Flagged: the 12 months that end in these months")
    for first, last, lowest in spells_of(scores):
        error = scores.std_error[lowest]
        table.add_row(
            str(months[first]),
            str(months[last]),
            f"{scores.log_px[lowest]:.2f} ± {'n/a' if np.isnan(error) else f'{error:.2f}'}",
            "" if scores.p_value is None else f"{scores.p_value[lowest]:.3f}",
            "El Niño" if holds[first : last + 1].any() else "",
        )
    return table
