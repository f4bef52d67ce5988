"""Score images and write one output row for each of them, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_numpy, from_strings
from anomaly_vae.arrow.results import OUTPUT_SCHEMA, result_columns
from anomaly_vae.arrow.scoring import results_of, score_by
from anomaly_vae.batch.collected import Collector
from anomaly_vae.batch.explaining import Explaining, ToExplain
from anomaly_vae.batch.scored import ScoredBatch, write_scores
from anomaly_vae.batch.scoring import RowScorer, prepared
from anomaly_vae.batch.selection import Selection
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.images import ImageBatch, ImageSource, refuse_other_shape
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Scores
from anomaly_vae.table import Fault

__all__ = ["IMAGE", "IMAGE_SCHEMA", "bits_per_dim", "faults_of_images", "score_images"]

# The column with the name of the image: its file, or its number from 0.
IMAGE = pa.field("image", pa.string())

IMAGE_SCHEMA = OUTPUT_SCHEMA.append(pa.field("bits_per_dim", pa.float64()))

# Takes numbers of images from 0, their rows and their scores.
OnScored = Callable[[list[int], FloatArray, Scores], None]


def score_images(
    scorer: RowScorer,
    source: ImageSource,
    output: str,
    *,
    options: ScoreOptions | None = None,
    only_flagged: bool = False,
    top: int | None = None,
    explaining: Explaining | None = None,
    fdr: float | None = None,
    overwrite: bool = False,
    on_batch: Callable[[ScoreSummary], None] | None = None,
    on_scored: OnScored | None = None,
    collector: Collector | None = None,
) -> ScoreSummary:
    """Score images and write them to a file, in input order.

    The output starts with the column ``image``. Images that cannot be read are written with nulls and a reason.

    Args:
        scorer: Scores rows of a model of images.
        source: The images.
        output, options, only_flagged, top, explaining, fdr, overwrite, on_batch: As for
            :func:`~anomaly_vae.batch.scoring.score_table`.
        on_scored: Called with the numbers of scored images, their rows (n, D) and their scores; not for flags alone.
        collector: Collects what a report shows.

    Raises:
        InvalidInput: The images do not fit the model, or the file is damaged.
        ConfigError: An option is wrong, or the output cannot be written.
    """
    shape, options = scorer.schema.shape, options or ScoreOptions()
    if not isinstance(shape, ImageShape):
        raise TypeError("the model is not one of images")
    refuse_other_shape(source.shape, shape, source.where)
    selection = Selection(only_flagged=only_flagged, top=top)
    results = results_of(scorer, options, IMAGE_SCHEMA)
    to = prepared(
        scorer, options, output, pa.schema([IMAGE, *results]), selection, explaining, fdr, overwrite=overwrite
    )

    def scored() -> Iterator[ScoredBatch]:
        for batch in source.batches():
            faults = faults_of_images(batch)
            usable = np.array([fault is None for fault in faults], dtype=bool)
            rows = batch.rows()[usable]
            scores = score_by(scorer, rows, options)
            given = dict[str, pa.Array]()
            if isinstance(scores, Scores):
                bits = np.full(len(usable), np.nan)
                bits[usable] = bits_per_dim(scores.log_px, rows)
                given["bits_per_dim"] = from_numpy(bits, ~np.isnan(bits))
                if on_scored is not None:
                    on_scored((batch.start + np.flatnonzero(usable)).tolist(), rows, scores)
            names = source.names[batch.start : batch.start + len(faults)]
            columns = [from_strings(list(names)), *result_columns(results, scores, usable, faults, given)]
            explained = None
            if explaining is not None:
                wanted = explaining.wanted(scores)
                explained = ToExplain(wanted, rows[wanted])
            yield ScoredBatch(columns, faults, usable, scores, scorer.schema.ranks_lowest(rows), explained)

    return write_scores(scored(), to, on_batch, collector=collector)


def bits_per_dim(log_px: FloatArray, rows: FloatArray) -> FloatArray:
    r"""Return :math:`-\log p(x) / (D \ln 2)` with the D values of an image that are present, bits, shape (N,).

    Args:
        log_px: Nats, shape (N,).
        rows: The images as rows (N, cells), NaN for missing pixels.
    """
    present = (~np.isnan(rows)).sum(axis=1)
    with np.errstate(invalid="ignore"):  # NaN without any pixel
        return np.asarray(-log_px / (np.where(present > 0, present, np.nan) * math.log(2.0)))


def faults_of_images(batch: ImageBatch) -> list[Fault | None]:
    """Return for each image of a batch why it cannot be read, or None."""
    return [None if text is None else Fault("unreadable", f"the image {text}") for text in batch.faults]
