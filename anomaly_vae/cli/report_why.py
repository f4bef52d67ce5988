"""Which cells make rows strange, for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.batch.explaining import with_text
from anomaly_vae.cli.console import rows_progress
from anomaly_vae.pages.records import Blame
from anomaly_vae.pages.texts import number

if TYPE_CHECKING:
    from anomaly_vae.explained import Why
    from anomaly_vae.scorer import Scorer

__all__ = ["Reasons", "reasons_of"]

# Cells to blame of a row with words and a picture, and columns of a table in the overview. Chosen, not measured.
_NAMED, _MOST_COLUMNS = 5, 40

# Synthetic rows whose surprise is what is usual for a cell of a window or an image. Chosen, not measured: the mean of a
# cell is then known to a third of a nat or better.
_USUAL_ROWS = 100


class Reasons(NamedTuple):
    """What makes n rows strange.

    Attributes:
        blame: For each row the cells to blame, most to blame first.
        excess: Nats above what is usual: of tables for each column, shape (n, D), NaN where a column has little; of
            windows and images for each cell, shape (n, *sizes).
    """

    blame: list[list[Blame]]
    excess: FloatArray


def reasons_of(
    scorer: Scorer, rows: FloatArray, texts: Sequence[Mapping[str, str | None]] | None = None, *, quiet: bool
) -> Reasons:
    """Explain rows.

    Args:
        scorer: The model.
        rows: Rows of the model, shape (n, D).
        texts: For each row its cells in columns of text, by the name of the column; None if they are not known.
        quiet: Show no progress.
    """
    schema = scorer.schema
    top = min(_MOST_COLUMNS, len(schema.columns)) if schema.shape is None else _NAMED
    with rows_progress("explaining", len(rows), quiet=quiet) as on_rows:
        found = scorer.explain_rows(rows, top=top, on_rows=on_rows)
    cells = [{}] * len(rows) if texts is None else texts
    blame = [
        [_blame(with_text(why, of_row.get(why.column))) for why in each[:_NAMED] if why.excess > 0.0]
        for each, of_row in zip(found, cells, strict=True)
    ]
    if schema.shape is not None:
        usual = scorer.heat_map(scorer.sample(_USUAL_ROWS).reshape(-1, *schema.shape.sizes)).mean(axis=0)
        return Reasons(blame, scorer.heat_map(rows.reshape(-1, *schema.shape.sizes)) - usual)
    place = {column.name: d for d, column in enumerate(schema.columns)}
    excess = np.full(rows.shape, np.nan)
    for i, each in enumerate(found):
        for why in each:
            excess[i, place[why.column]] = why.excess
    return Reasons(blame, excess)


def _blame(why: Why) -> Blame:
    without = (
        "" if why.p_value_without is None else f"; without it, the p-value would be {number(why.p_value_without, 2)}"
    )
    value = why.value if isinstance(why.value, (int, float)) else None
    if why.low is not None and why.high is not None and why.low > why.high:
        value = None  # the range goes across the end of a period
    return Blame(
        column=why.column,
        text=why.text + without,
        excess=why.excess,
        std_error=why.std_error,
        value=value,
        low=why.low,
        middle=why.middle,
        high=why.high,
    )
