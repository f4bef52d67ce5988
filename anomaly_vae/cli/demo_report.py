"""The output of the demo: the most anomalous rows, the quality of the ranking, and a picture."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anomaly_vae.arrays import FloatArray
from anomaly_vae.plot.canvas import FLAGGED, NORMAL, finished, new_figure, private_fonts
from anomaly_vae.scorer import Scorer

__all__ = ["next_steps", "print_report", "save_picture"]

_NO_ERROR = "n/a"

# Width and height of the picture.
_PIXELS = (960, 480)


def next_steps(picture: Path, commands: Sequence[str]) -> str:
    """Return what to look at, and commands of the program to type next."""
    lines = [f"{_program()} {command}" for command in commands]
    return f"\nLook at   {picture}\nNext      " + "\n          ".join(lines)


def _program() -> str:
    """Return the command that starts this program, also from an environment that is not active."""
    if shutil.which("anomaly-vae"):
        return "anomaly-vae"
    return f"{sys.executable} -m anomaly_vae" if sys.argv[0].endswith("__main__.py") else sys.argv[0]


def print_report(scorer: Scorer, scores: Path, worst: Path, *, quiet: bool) -> None:
    """Print the most anomalous rows with their explanations, AUROC, average precision and the false-positive rate.

    Args:
        scorer: The model.
        scores: The scores of all rows.
        worst: Those of the most anomalous rows, with explanations.
        quiet: Print no rows.
    """
    from anomaly_vae.assessment.ranking import detection_quality

    values = _read(scores)
    log_px, malignant = values["log_px"], values["malignant"] == 1
    quality = detection_quality(log_px[~malignant], log_px[malignant])
    flagged = values["is_anomaly"]
    console = Console(highlight=False)
    if not quiet:
        shown = _read(worst)
        console.print(_worst_rows(shown))
        if np.isnan(shown["std_error"]).any():
            console.print(
                f"{_NO_ERROR}: a few samples carry the whole estimate of these far rows, so that it has no valid error",
                soft_wrap=True,
            )
    rate, target = flagged[~malignant].mean(), scorer.info["calibration"]["effective_fpr"]
    console.print(
        f"AUROC {quality.auroc:.4f}   average precision {quality.average_precision:.4f}\n"
        f"false-positive rate {rate:.4f} ({flagged[~malignant].sum()} of {(~malignant).sum()} benign rows), "
        f"at most {target:.4f} expected\n"
        f"flagged {flagged[malignant].sum()} of {malignant.sum()} malignant rows; threshold {scorer.threshold:.2f} nats"
    )


def save_picture(scorer: Scorer, scores: Path, path: Path) -> None:
    """Save histograms of log p(x) of benign and malignant rows, with the threshold, as PNG."""
    with private_fonts(path.parent):
        _save(scorer, scores, path)


def _save(scorer: Scorer, scores: Path, path: Path) -> None:
    values = _read(scores)
    malignant = values["malignant"] == 1
    log_px = values["log_px"]
    # Far anomalies lie thousands of nats below: the axis is linear around the benign rows and logarithmic beyond.
    center = float(np.median(log_px[~malignant]))
    width = float(np.subtract(*np.percentile(log_px[~malignant], [75, 25])))

    def squeeze(value: FloatArray) -> FloatArray:
        return np.asarray(np.arcsinh((value - center) / width))

    def stretch(value: FloatArray) -> FloatArray:
        return np.asarray(center + width * np.sinh(value))

    bins = stretch(np.linspace(squeeze(log_px.min()), squeeze(log_px.max()), 50))
    figure = new_figure(*_PIXELS)
    axes = figure.subplots()
    axes.hist(log_px[~malignant], bins, alpha=0.75, color=NORMAL, label=f"benign ({(~malignant).sum()})")
    axes.hist(log_px[malignant], bins, alpha=0.65, color=FLAGGED, label=f"malignant ({malignant.sum()})")
    axes.axvline(scorer.threshold, color="black", linestyle="--", label=f"threshold {scorer.threshold:.1f} nats")
    axes.set_xscale("function", functions=(squeeze, stretch))
    axes.set_xlim(bins[0], bins[-1])
    ticks = [tick for tick in (-10_000, -3_000, -1_000, -300, -100, -30, 0, 20, 30, 100) if bins[0] <= tick <= bins[-1]]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel("log p(x), nats (higher is more normal)")
    axes.set_ylabel("rows")
    axes.set_title("Held-out rows, malignant tumours never seen in training")
    axes.legend(loc="upper left")
    finished(figure, path)


def _worst_rows(values: dict[str, Any]) -> Table:
    table = Table("row", "log p(x) ± error", "p-value", "truth", "why", title="The most anomalous held-out rows")
    for i in range(len(values["row"])):
        error = values["std_error"][i]
        table.add_row(
            str(values["row"][i]),
            f"{values['log_px'][i]:.2f} ± {_NO_ERROR if np.isnan(error) else f'{error:.2f}'}",
            f"{values['p_value'][i]:.3f}",
            "malignant" if values["malignant"][i] else "benign",
            Text(values["why_1"][i] or ""),
        )
    return table


def _read(scores: Path) -> dict[str, Any]:
    table = pyarrow.csv.read_csv(scores)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
