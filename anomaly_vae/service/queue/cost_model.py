"""The seconds that rows take to compute, learned from batches."""

from __future__ import annotations

from typing import NamedTuple

from anomaly_vae.density.tiles import TILE_ROWS

__all__ = ["CostKey", "CostModel"]

# Compute time of a full batch, seconds. A new request waits for the end of the batch before it, so longer batches mean
# longer waits. Chosen, not measured.
_BATCH_SECONDS = 0.01
# Rows of the smallest full batch. Chosen, not measured: the fixed time of a batch counts more in smaller ones.
_FEWEST_ROWS = 2 * TILE_ROWS
# Compute time of a full batch of rows that take long, such as images, seconds: they go in smaller batches. Chosen, not
# measured: the rows of a default model of a table (3 to 7 ms each) keep the smallest full batch.
_LONGEST_SECONDS = 0.25
# Rows of the largest batch. Bounds its memory and the time until its callers get their scores. Chosen, not measured.
_MOST_ROWS = 1_024

# Seconds for one sample of one row, used before any batch was measured. An order of magnitude: 1,024 samples of a row
# took 0.6 to 1.4 ms.
_SECONDS_PER_SAMPLE = 1e-6

# Weight of a full batch in the moving average of the seconds for a row. Chosen, not measured: a higher weight follows
# changes faster, a lower one averages out more noise.
_SMOOTHING = 0.1


class CostKey(NamedTuple):
    """Rows with the same key take about the same time.

    Attributes:
        flag_only: Whether only decisions are computed.
        has_max_std_error: Whether a row may end early, at an error target.
        num_samples: The most samples of a row.
        work: As how many scored rows a row counts: above 1 if it is explained.
        model: The name and the version of the model.
    """

    flag_only: bool
    has_max_std_error: bool
    num_samples: int
    work: float = 1.0
    model: tuple[str, str] = ("", "")

    @property
    def tile(self) -> int:
        """Rows that fill a tile of the networks: one, if it is explained."""
        return TILE_ROWS if self.work == 1.0 else 1


class CostModel:
    """Predicts the seconds that one thread takes for rows."""

    def __init__(self) -> None:
        """Start with a guess: see :data:`_SECONDS_PER_SAMPLE`."""
        self._seconds_per_row: dict[CostKey, float] = {}
        self._seconds_per_sample: dict[tuple[str, str], float] = {}

    def expect(self, model: tuple[str, str], seconds_per_sample: float) -> None:
        """Set the seconds for one sample of one row of a model, used for keys without a measured batch."""
        self._seconds_per_sample[model] = seconds_per_sample

    def forget(self, model: tuple[str, str]) -> None:
        """Forget a model."""
        self._seconds_per_sample.pop(model, None)
        for key in [key for key in self._seconds_per_row if key.model == model]:
            del self._seconds_per_row[key]

    def learn(self, key: CostKey, num_rows: int, seconds: float) -> None:
        """Update the seconds for a row by a measured batch.

        A batch of less than a tile takes as long as a full tile. So it only counts if it is the first one measured, and
        then as a full tile; or if it is a full batch. Larger batches count in proportion to their rows, up to a full
        batch.
        """
        known = self._seconds_per_row.get(key)
        if known is None:
            self._seconds_per_row[key] = seconds / (-(-num_rows // key.tile) * key.tile)
        elif num_rows >= min(key.tile, full := self.full_batch(key)):
            weight = _SMOOTHING * min(num_rows / full, 1.0)
            self._seconds_per_row[key] = known + weight * (seconds / num_rows - known)

    def seconds(self, key: CostKey, num_rows: int) -> float:
        """Return the seconds that one thread takes for rows.

        Before the first rows were explained, one is expected to take as long as the scores that it counts as.
        """
        per_row = self._seconds_per_row.get(key)
        if per_row is None and key.work != 1.0:
            return key.work * self.seconds(key._replace(work=1.0), num_rows)
        if per_row is None:
            per_row = key.num_samples * self._seconds_per_sample.get(key.model, _SECONDS_PER_SAMPLE)
        return num_rows * per_row

    def full_batch(self, key: CostKey) -> int:
        """Return the rows of a full batch: whole tiles that take about :data:`_BATCH_SECONDS`, or two tiles.

        If two tiles take longer than :data:`_LONGEST_SECONDS`, as many rows as take that time, and at least one.
        """
        seconds = max(self.seconds(key, TILE_ROWS), 1e-9)
        tiles = min(max(_BATCH_SECONDS / seconds, _FEWEST_ROWS / TILE_ROWS), _MOST_ROWS / TILE_ROWS)
        tiles = min(tiles, _LONGEST_SECONDS / seconds)
        return int(tiles) * TILE_ROWS if tiles >= 1.0 else max(int(tiles * TILE_ROWS), 1)
