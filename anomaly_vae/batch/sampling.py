"""Write synthetic rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from anomaly_vae.table import open_writer
from anomaly_vae.table.arrow import from_numpy, from_strings

if TYPE_CHECKING:
    from anomaly_vae.scorer import Scorer

__all__ = ["sample_table"]

# Synthetic rows per block. Chosen, not measured: larger blocks need more memory, smaller ones more calls.
_ROWS_PER_BLOCK = 16_384
# Difference between the seeds of consecutive blocks: a prime, so that seeds a user would choose (0, 1, 2, ...) do not
# meet within the blocks of another run. Changing it changes the output of `anomaly-vae sample`.
_SEED_STEP = 1_000_003


def sample_table(
    scorer: Scorer,
    output: str,
    num_rows: int,
    seed: int,
    *,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> None:
    """Write synthetic rows, with the text of each category.

    Args:
        scorer: The model.
        output: As for :func:`~anomaly_vae.batch.scoring.score_table`.
        num_rows: How many rows to write.
        seed: The same seed and number of rows give the same file.
        overwrite: Whether an existing output is replaced.
        on_rows: Called with the number of rows just written.
    """
    fields = [
        (column.name, pa.string() if column.categories is not None else pa.float64())
        for column in scorer.schema.columns
    ]
    schema = pa.schema(fields)
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for i, start in enumerate(range(0, num_rows, _ROWS_PER_BLOCK)):
            rows = scorer.sample(min(_ROWS_PER_BLOCK, num_rows - start), (seed + i * _SEED_STEP) % 2**32)
            columns = [
                from_numpy(np.ascontiguousarray(rows[:, d]))
                if column.categories is None
                else from_strings([column.categories[int(code)] for code in rows[:, d]])
                for d, column in enumerate(scorer.schema.columns)
            ]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            if on_rows:
                on_rows(len(rows))
