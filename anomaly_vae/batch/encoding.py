"""Write the latent positions of rows, of the windows that end at each step of series, and of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_strings, scatter
from anomaly_vae.batch.image_scoring import IMAGE, faults_of_images
from anomaly_vae.batch.kept import check_keep, refuse_names
from anomaly_vae.batch.series_input import SeriesInput
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.images import ImageSource, refuse_other_shape
from anomaly_vae.table import Fault, Table, open_writer

if TYPE_CHECKING:
    from anomaly_vae.scorer import Scorer

__all__ = ["encode_images", "encode_series", "encode_table"]

# Rows that are written at once. Chosen, not measured.
_ROWS_AT_ONCE = 65_536

# Why a row of series has no position. Scores say why no window ends there.
_NO_WINDOW = Fault("no window", "no window ends there")

OnBatch = Callable[[ScoreSummary], None]


class _Encoded(NamedTuple):
    """Consecutive rows: columns to copy, the means (n, L) of the usable ones, and the faults of the others."""

    columns: list[pa.Array]
    means: FloatArray
    usable: NDArray[np.bool_]
    faults: Sequence[Fault | None]


def encode_table(
    scorer: Scorer,
    table: Table,
    output: str,
    *,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    on_batch: OnBatch | None = None,
    on_means: Callable[[FloatArray], None] | None = None,
) -> ScoreSummary:
    """Write the means of q(z|x) of a table's rows; rows that cannot be read are written with nulls.

    Args:
        scorer: The model.
        table, output, keep, overwrite, on_batch: As for :func:`~anomaly_vae.batch.scoring.score_table`.
        on_means: Called with the means just written, shape (n, L).

    Raises:
        InvalidInput, ConfigError: As for :func:`~anomaly_vae.batch.scoring.score_table`.
    """
    match_columns(table.names, scorer.schema.names)
    check_keep(table, keep, output, _latent_schema(scorer))
    batches = table.batches(scorer.schema.reader(), keep)  # refuses a table of other columns before the output opens

    def encoded() -> Iterator[_Encoded]:
        for batch in batches:
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            means = scorer.encode_rows(scorer.schema.expand(batch.rows[usable]))
            yield _Encoded(list(batch.kept.columns), means, usable, batch.faults)

    return _write(scorer, encoded(), table.schema_of(keep), output, overwrite, on_batch, on_means)


def encode_series(
    scorer: Scorer,
    series: SeriesInput,
    output: str,
    *,
    overwrite: bool = False,
    on_windows: Callable[[int], None] | None = None,
    on_means: Callable[[FloatArray], None] | None = None,
) -> ScoreSummary:
    """Write the means of q(z|x) of the windows that end at each row; rows without a window are written with nulls.

    Args:
        scorer: The model.
        series, output, overwrite, on_windows: As for :func:`~anomaly_vae.batch.series_scoring.score_series`.
        on_means: As for :func:`encode_table`.

    Raises:
        ConfigError: The output cannot be written.
    """
    refuse_names(series.kept.schema.names, _latent_schema(scorer))

    def encoded() -> Iterator[_Encoded]:
        means, has_window = np.full((len(series), len(_latent_schema(scorer))), np.nan), np.zeros(len(series), bool)
        for ends, windows in series.windows():
            means[ends], has_window[ends] = scorer.encode_rows(windows), True
            if on_windows:
                on_windows(len(ends))
        for start in range(0, len(series), _ROWS_AT_ONCE):
            end = min(start + _ROWS_AT_ONCE, len(series))
            usable = has_window[start:end]
            faults = [
                None if is_usable else series.faults.get(start + i, _NO_WINDOW) for i, is_usable in enumerate(usable)
            ]
            yield _Encoded(series.kept_columns(start, end), means[start:end][usable], usable, faults)

    return _write(scorer, encoded(), series.kept.schema, output, overwrite, None, on_means)


def encode_images(
    scorer: Scorer,
    source: ImageSource,
    output: str,
    *,
    overwrite: bool = False,
    on_batch: OnBatch | None = None,
    on_means: Callable[[FloatArray], None] | None = None,
) -> ScoreSummary:
    """Write the means of q(z|x) of images, with their names; images that cannot be read are written with nulls.

    Args:
        scorer: The model.
        source, output, overwrite, on_batch: As for :func:`~anomaly_vae.batch.image_scoring.score_images`.
        on_means: As for :func:`encode_table`.

    Raises:
        InvalidInput: The images do not fit the model, or the file is damaged.
        ConfigError: The output cannot be written.
    """
    if not isinstance(scorer.schema.shape, ImageShape):
        raise TypeError("the model is not one of images")
    refuse_other_shape(source.shape, scorer.schema.shape, source.where)

    def encoded() -> Iterator[_Encoded]:
        for batch in source.batches():
            faults = faults_of_images(batch)
            usable = np.array([fault is None for fault in faults], dtype=bool)
            names = from_strings(list(source.names[batch.start : batch.start + len(faults)]))
            yield _Encoded([names], scorer.encode_rows(batch.rows()[usable]), usable, faults)

    return _write(scorer, encoded(), pa.schema([IMAGE]), output, overwrite, on_batch, on_means)


def _latent_schema(scorer: Scorer) -> pa.Schema:
    width = scorer.encode_rows(np.empty((0, len(scorer.schema.columns)))).shape[1]
    return pa.schema([(f"z{i}", pa.float64()) for i in range(width)])


def _write(
    scorer: Scorer,
    parts: Iterator[_Encoded],
    copied: pa.Schema,
    output: str,
    overwrite: bool,
    on_batch: OnBatch | None,
    on_means: Callable[[FloatArray], None] | None,
) -> ScoreSummary:
    summary, latent = ScoreSummary(), _latent_schema(scorer)
    schema = pa.schema([*copied, *latent])
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for part in parts:
            columns = [*part.columns, *(scatter(part.means[:, i], part.usable) for i in range(len(latent)))]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            summary.note(part)
            if on_means:
                on_means(part.means)
            if on_batch:
                on_batch(summary)
    return summary
