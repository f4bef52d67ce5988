"""How long rows take, as far as is known."""

from __future__ import annotations

from typing import Any

from anomaly_vae.service.served import Work
from anomaly_vae.tiles import TILE_ROWS

__all__ = ["Pace"]

# A batch takes about this long: a request that comes meanwhile waits for its end. Below two tiles the time of a row
# rises by half (measured at 5 and 9 columns, 1,024 samples: 0.8 to 1.4 ms a row for 16 rows, 0.6 to 0.95 for 32).
_BATCH_SECONDS = 0.01
_FEWEST_ROWS = 2 * TILE_ROWS
_MOST_ROWS = 1_024

# Before anything is known: seconds of one sample of one row.
_SECONDS_PER_PAIR = 1e-6

_SMOOTHING = 0.1


class Pace:
    """Seconds that one thread takes for a row, by kind of work, learned from batches."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._seconds_per_row: dict[Any, float] = {}
        self._seconds_per_pair = _SECONDS_PER_PAIR

    def expect(self, seconds_per_pair: float) -> None:
        """Take this for kinds of work that have not been seen yet: seconds of one sample of one row."""
        self._seconds_per_pair = seconds_per_pair

    def learn(self, work: Work, num_rows: int, seconds: float) -> None:
        """Learn how long a batch took.

        A few rows take as long as a tile of them, so that they tell little of many: they count only while nothing else
        is known, and small batches count less than full ones.
        """
        known = self._seconds_per_row.get(work.pace)
        if known is None:
            self._seconds_per_row[work.pace] = seconds / (-(-num_rows // TILE_ROWS) * TILE_ROWS)
        elif num_rows >= TILE_ROWS:
            weight = _SMOOTHING * min(num_rows / self.full_batch(work), 1.0)
            self._seconds_per_row[work.pace] = known + weight * (seconds / num_rows - known)

    def seconds(self, work: Work, num_rows: int) -> float:
        """Seconds that one thread needs for some rows."""
        per_row = self._seconds_per_row.get(work.pace)
        return num_rows * (work.num_samples * self._seconds_per_pair if per_row is None else per_row)

    def full_batch(self, work: Work) -> int:
        """Rows of a full batch: about :data:`_BATCH_SECONDS` of work in whole tiles."""
        tiles = _BATCH_SECONDS / max(self.seconds(work, TILE_ROWS), 1e-9)
        return int(min(max(tiles, _FEWEST_ROWS / TILE_ROWS), _MOST_ROWS / TILE_ROWS)) * TILE_ROWS
