"""The output of the demo of images: how many images of each kind are flagged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.table import Table

from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Scores
from anomaly_vae.storage import atomic_file
from anomaly_vae.training.demo_image_data import KINDS, DemoImages

__all__ = ["print_kinds"]


def print_kinds(scorer: Scorer, images: DemoImages, scores: Scores, path: Path, *, quiet: bool) -> None:
    """Write the scores, and print for each kind of images how many are flagged, AUROC and the false-positive rate.

    Args:
        scorer: The model.
        images: The scored images, and what they are.
        scores: One entry for each.
        path: The CSV file to write.
        quiet: Whether only figures are printed.
    """
    from anomaly_vae.assessment.ranking import detection_quality

    kinds = np.array(images.kinds)
    bits = -scores.log_px / (images.held_out[0].size * math.log(2))
    with atomic_file(path, overwrite=True) as part:
        table = scores.to_arrow().append_column("bits_per_dim", pa.array(bits))
        table = table.add_column(0, "kind", pa.array(images.kinds))
        pyarrow.csv.write_csv(table, part)
    flagged = np.zeros(len(scores), dtype=bool) if scores.is_anomaly is None else scores.is_anomaly.astype(bool)
    is_normal = kinds == KINDS[0]
    quality = detection_quality(scores.score[is_normal], scores.score[~is_normal])
    console = Console(highlight=False)
    if not quiet:
        shown = Table("images", "number", "flagged", "median log p(x)", "bits per pixel", title="Held-out images")
        for kind in KINDS:
            own = kinds == kind
            numbers = (f"{np.median(scores.log_px[own]):.1f}", f"{np.median(bits[own]):.2f}")
            shown.add_row(kind, str(own.sum()), str(flagged[own].sum()), *numbers)
        console.print(shown)
    target = scorer.info["calibration"]["effective_fpr"]
    limits = [f"below {scorer.threshold:.2f}"]
    limits += [] if scorer.upper_threshold is None else [f"above {scorer.upper_threshold:.2f}"]
    console.print(
        f"AUROC {quality.auroc:.4f}   average precision {quality.average_precision:.4f}\n"
        f"false-positive rate {flagged[is_normal].mean():.4f} ({flagged[is_normal].sum()} of {is_normal.sum()} "
        f"digits), at most {target:.4f} expected on average\n"
        f"flagged {flagged[~is_normal].sum()} of {(~is_normal).sum()} other images: {' or '.join(limits)} nats",
        soft_wrap=True,
    )
