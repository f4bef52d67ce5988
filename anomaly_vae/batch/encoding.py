"""Write the latent positions of a table's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from anomaly_vae.batch.kept import check_keep
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.table import Table, open_writer
from anomaly_vae.table.arrow import scatter

if TYPE_CHECKING:
    from anomaly_vae.scorer import Scorer

__all__ = ["encode_table"]


def encode_table(
    scorer: Scorer,
    table: Table,
    output: str,
    *,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    on_batch: Callable[[ScoreSummary], None] | None = None,
) -> ScoreSummary:
    """Write the means of q(z|x) of a table's rows; rows that cannot be read are written with nulls.

    Args:
        scorer: The model.
        table, output, keep, overwrite, on_batch: As for :func:`~anomaly_vae.batch.scoring.score_table`.

    Raises:
        InvalidInput, ConfigError: As for :func:`~anomaly_vae.batch.scoring.score_table`.
    """
    match_columns(table.names, scorer.schema.names)
    width = scorer.encode_rows(np.empty((0, len(scorer.schema.columns)))).shape[1]
    latent = pa.schema([(f"z{i}", pa.float64()) for i in range(width)])
    check_keep(table, keep, output, latent)
    schema = pa.schema([*table.schema_of(keep), *latent])
    summary = ScoreSummary()
    batches = table.batches(scorer.schema.reader(), keep)  # refuses a table of other columns before the output opens
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for batch in batches:
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            means = scorer.encode_rows(scorer.schema.expand(batch.rows[usable]))
            columns = [*batch.kept.columns, *(scatter(means[:, i], usable) for i in range(width))]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            summary.note(batch)
            if on_batch:
                on_batch(summary)
    return summary
