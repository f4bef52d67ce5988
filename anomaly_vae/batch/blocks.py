"""Batches of a table joined to blocks that are scored at once: large enough to be fast, small enough for memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from anomaly_vae.errors import ConfigError
from anomaly_vae.table import Batch

__all__ = ["BlockSize", "blocks", "most_rows"]

# Rows of the first block. The next one has four times as many if a block took less than the first time, twice as many
# if it took less than the second one, half as many if it took more than the last one, seconds. Measured with a small
# model on 2 cores, flags per second: 24,000 with blocks of 1,024 rows, 45,000 with 4,096, 50,000 with 16,384, 60,000
# with 65,536, 65,000 with all 200,000 rows at once. A block is also what a progress bar moves by, and what is lost if
# the job is stopped.
_FIRST_ROWS = 1_024
_VERY_SHORT_S, _SHORT_S, _LONG_S = 0.15, 0.6, 2.0
_LEAST_ROWS, _MOST_ROWS = 64, 65_536
# Numbers in a block: tables of many columns have fewer rows. Chosen, not measured.
_MOST_VALUES = 2**22

# Memory of reading and scoring beside the loaded model, and that of all blocks that are under way: for each row of a
# block and for each number in it. Measured with 30 columns: 110 to 140 MB, then 2,800 bytes a row; here it is about
# twice as much, which leaves room for texts.
_BYTES_TO_SCORE, _BYTES_PER_ROW, _BYTES_PER_VALUE = 150_000_000, 2_000, 100


def most_rows(memory: int | None, num_columns: int) -> int:
    """Return the most rows of a block.

    Args:
        memory: Bytes that the process may take, with those that it has taken already; None for no limit.
        num_columns: Columns of the model.

    Raises:
        ConfigError: The memory is not enough for small blocks.
    """
    if memory is None:
        return min(_MOST_ROWS, max(_LEAST_ROWS, _MOST_VALUES // max(num_columns, 1)))
    taken, per_row = resident_bytes() + _BYTES_TO_SCORE, _BYTES_PER_ROW + _BYTES_PER_VALUE * num_columns
    rows = (memory - taken) // per_row
    if rows < _LEAST_ROWS:
        least = (taken + _LEAST_ROWS * per_row) / 1e6
        raise ConfigError(
            f"--memory: {memory / 1e6:,.0f} MB is too little: the program takes {taken / 1e6:,.0f} MB with this model; "
            f"give at least {least:,.0f}MB"
        )
    return min(rows, _MOST_ROWS)


def resident_bytes() -> int:
    """Return the bytes of memory that this process takes."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (no path of the user's)
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class BlockSize:
    """How many rows the next block has. Scores do not depend on it.

    Attributes:
        rows: Most rows of the next block.
    """

    def __init__(self, most_rows: int = _MOST_ROWS, *, is_fixed: bool = False) -> None:
        """Start small; blocks never have more than ``most_rows``. If the size is fixed, all blocks have that many."""
        self._most, self._is_fixed = max(1, min(most_rows, _MOST_ROWS)), is_fixed
        self.rows = self._most if is_fixed else min(_FIRST_ROWS, self._most)

    def fixed(self) -> BlockSize:
        """Return the size of blocks that are the same each time, however long they take."""
        return BlockSize(self._most, is_fixed=True)

    def note(self, num_rows: int, seconds: float) -> None:
        """Take the time that a block of this many rows took."""
        if self._is_fixed:
            return
        if seconds < _SHORT_S and num_rows >= self.rows:
            self.rows = min((4 if seconds < _VERY_SHORT_S else 2) * self.rows, self._most)
        elif seconds > _LONG_S:
            self.rows = max(self.rows // 2, min(_LEAST_ROWS, self._most))


def blocks(batches: Iterable[Batch], size: BlockSize) -> Iterator[Batch]:
    """Yield the rows of batches in blocks of the given size; a block has rows of one file only."""
    held = list[Batch]()
    num_held = 0
    for batch in chain.from_iterable(_cut(batch, size) for batch in batches):
        if held and (held[0].fragment != batch.fragment or num_held + len(batch.faults) > size.rows):
            yield _joined(held)
            held, num_held = [], 0
        held.append(batch)
        num_held += len(batch.faults)
    if held:
        yield _joined(held)


def _cut(batch: Batch, size: BlockSize) -> Iterator[Batch]:
    start = 0
    while len(batch.faults) - start > (rows := size.rows):
        yield _slice(batch, start, rows)
        start += rows
    yield _slice(batch, start, len(batch.faults)) if start else batch


def _slice(batch: Batch, start: int, rows: int) -> Batch:
    part = slice(start, start + rows)
    return Batch(batch.rows[part], batch.faults[part], batch.kept.slice(start, rows), batch.fragment)


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    faults = list(chain.from_iterable(batch.faults for batch in batches))
    rows = np.concatenate([batch.rows for batch in batches])
    kept = batches[0].kept
    if kept.schema.names:
        kept = pa.Table.from_batches([batch.kept for batch in batches]).combine_chunks().to_batches()[0]
    return Batch(rows, faults, kept, batches[0].fragment)
