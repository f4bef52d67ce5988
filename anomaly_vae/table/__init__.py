"""Tables of numbers, texts and times as streams of batches, in bounded memory, from and to all usual formats.

An empty cell is a missing value. A cell that cannot be read makes its row faulty; the other rows are read. A column of
another type than in training raises InvalidInput for the whole table.
"""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_vae.arrow.faults import Fault
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.table.base import Batch
from anomaly_vae.table.output import Writer, check_ending, open_part, open_writer, refuse_output, refuse_type
from anomaly_vae.table.raw import Fragment
from anomaly_vae.table.reader import Table
from anomaly_vae.table.sources import open_source

__all__ = [
    "Batch",
    "Fault",
    "Fragment",
    "ReadOptions",
    "Table",
    "Writer",
    "check_ending",
    "open_part",
    "open_table",
    "open_writer",
    "refuse_output",
    "refuse_type",
]


def open_table(
    path: str, options: ReadOptions | None = None, missing_values: Sequence[str] = (), *, skips: bool = False
) -> Table:
    """Open a table: a file, a folder or a pattern of files; ``-`` is CSV on standard input.

    Args:
        path: Where the table is.
        options: How to read a text file, where the file itself does not show it.
        missing_values: Markers of missing cells in this table, beside the usual ones and those of the model.
        skips: Whether files of a folder that cannot be read are left out; ``Table.skipped`` names them.

    Raises:
        InvalidInput: There is no such table, its format is unknown, or it is damaged.
    """
    table = Table(open_source(path, options or ReadOptions(), skips=skips), missing_values)
    table.options = options or ReadOptions()
    table.settings = repr((options or ReadOptions(), tuple(missing_values), skips))
    return table
