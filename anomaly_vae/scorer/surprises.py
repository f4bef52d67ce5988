r"""How surprising regions of a row are given its other cells, quickly and closely.

.. math:: -\log p(x_d \mid x_{rest}) = \log p(x_{rest}) - \log p(x)

Both terms are log p(x) of a row: missing cells are integrated out, which is exact for the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import LOG_NEW_VALUES
from anomaly_vae.columns.part import Part
from anomaly_vae.columns.regions import Region, regions_of
from anomaly_vae.columns.schema import Column
from anomaly_vae.density.conditionals import Posterior
from anomaly_vae.density.expectations import Expected, expected
from anomaly_vae.density.samples import Samples
from anomaly_vae.scorer.judge import Judge
from anomaly_vae.scorer.known import Known, known_of

__all__ = ["Surprise", "Surprises"]

# Draws behind the usual surprise of a region. Chosen: its standard error is about 0.1 nats.
_DRAWS, _SEED = 128, 0

# Cells of the rows without a region that are in memory at once: 32 MiB. Chosen: a row of thousands of columns has as
# many of these rows.
_CELLS_AT_ONCE = 2**22

# Sets of columns that are kept: those of a table, a window or an image. Chosen: the others have missing cells.
_KEPT_PARTS = 2048


class Surprise(NamedTuple):
    """A close look at a region of a row.

    Attributes:
        region: Its number.
        nats: The conditional surprise, nats in data units.
        std_error: Of ``nats``.
        usual: The surprise that values from the model have there on average, nats.
        rest: What is known of the row without the region; arrays of shape (1,), and no samples.
        cell: The column of the cell to blame most in it.
        expected: What was expected in this cell.
    """

    region: int
    nats: float
    std_error: float
    usual: float
    rest: Known
    cell: int
    expected: Expected

    @property
    def excess(self) -> float:
        """``nats`` above the usual."""
        return self.nats - self.usual


class Surprises:
    """Looks at regions of rows (N, D), float64 in data units and checked against the schema."""

    def __init__(self, judge: Judge) -> None:
        """Take the open model."""
        self._judge, self._schema = judge, judge.bundle.manifest.schema
        self.regions: tuple[Region, ...] = regions_of(self._schema)
        self._cells = np.zeros((len(self.regions), len(self._schema.columns)), dtype=bool)
        for g, region in enumerate(self.regions):
            self._cells[g, list(region.cells)] = True
        self._modelled = np.isin(np.arange(len(self._schema.columns)), self._schema.modelled)
        unit = np.zeros(len(self._schema.columns))
        unit[self._schema.modelled] = judge.bundle.manifest.adjustment.parts
        self._unit = np.array([unit[list(region.cells)].sum() for region in self.regions])
        # Not a method: in a cycle with its cache the judge would outlive its model until a garbage collection.
        self._parts = lru_cache(maxsize=_KEPT_PARTS)(partial(_parts_of, judge))

    def without(self, rows: FloatArray, regions: NDArray[np.intp]) -> FloatArray:
        """Return rows (N, D) whose cells in one region each, (N,), are missing."""
        return np.where(self._cells[regions], np.nan, rows)

    def present(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which regions of rows (N, D) have a cell that can be surprising, shape (N, G)."""
        counts = (~np.isnan(rows) & self._modelled) | self._schema.other_cells(rows)
        return np.stack([counts[:, list(region.cells)].any(axis=1) for region in self.regions], axis=1)

    def quick(self, rows: FloatArray, log_px: FloatArray, pairs: NDArray[np.bool_]) -> FloatArray:
        """Return rough surprises in standardised units, nats, shape (N, G); minus infinity where none is asked for.

        Args:
            rows: Rows (N, D).
            log_px: Their log p(x), nats, shape (N,).
            pairs: Which regions of which rows, shape (N, G).
        """
        i, g = np.nonzero(pairs)
        found = np.full(pairs.shape, -np.inf)
        if len(i):
            # Most cells hardly move the modes, so those of the whole row are good starts.
            modes = self._judge.estimator.quick_fit(rows)[1]
            step = max(_CELLS_AT_ONCE // rows.shape[1], 1)
            for start in range(0, len(i), step):
                n, region = i[start : start + step], g[start : start + step]
                rest, _ = self._judge.estimator.quick_fit(self.without(rows[n], region), [each[n] for each in modes])
                found[n, region] = rest - log_px[n] + self._unit[region]
        return found

    def close(
        self, rows: FloatArray, known: Known, i: NDArray[np.intp], g: NDArray[np.intp], most: int
    ) -> list[tuple[int, Surprise]]:
        """Look closely at regions of rows; return the surprises with the numbers of their rows.

        Args:
            rows: Rows (N, D).
            known: What is known of them.
            i, g: Numbers of rows, increasing, and of one region of each, shape (B,).
            most: Regions of each row that are returned: those with the largest surprises in standardised units.
        """
        if not len(i):
            return []
        rest = self.without(rows[i], g)
        without = known_of(self._judge, rest)
        nats = without.log_px - known.log_px[i]
        present = ~np.isnan(rows[i]) & self._cells[g]
        found = []
        for b in _largest(i, nats + self._unit[g], most):
            cells = tuple(np.flatnonzero(present[b]).tolist())
            usual, cell, what = self._look(rows[i[b]], cells, without.samples, b)
            surprise = Surprise(
                region=int(g[b]),
                nats=float(nats[b]),
                std_error=math.hypot(float(without.std_error[b]), float(known.std_error[i[b]])),
                usual=usual,
                rest=without.row(b),
                cell=cell,
                expected=what,
            )
            found.append((int(i[b]), surprise))
        return found

    def _look(
        self, row: FloatArray, cells: tuple[int, ...], samples: Sequence[Samples], b: int
    ) -> tuple[float, int, Expected]:
        """Return the usual surprise of some cells of a row (D,), the one to blame, and what was expected in it.

        Args:
            row: The row.
            cells: Those of its cells that are present.
            samples: For several rows without their cells.
            b: The number of this row among them.
        """
        columns = self._schema.columns
        modelled = tuple(d for d in cells if self._modelled[d])
        is_other = self._schema.other_cells(row[None])[0] & ~self._modelled
        odd = max(cells, key=lambda d: _cost(columns[d]) if is_other[d] else -math.inf)
        if not modelled:
            return 0.0, odd, _only_value(columns[odd])
        posterior = Posterior(self._judge.estimator.members, samples, b)
        alone = [posterior.of(self._parts((d,))) for d in modelled]
        looks = [expected(each, columns[d]) for d, each in zip(modelled, alone, strict=True)]
        if len(cells) == 1:
            return looks[0].usual, modelled[0], looks[0]
        surprise = [-float(each.log_prob(row[None, [d]])[0]) for d, each in zip(modelled, alone, strict=True)]
        excess = np.array(surprise) - np.array([look.usual for look in looks])
        worst = int(np.argmax(excess))
        usual = posterior.of(self._parts(modelled)).usual_surprise(_DRAWS, _SEED)
        if is_other[odd] and _cost(columns[odd]) > excess[worst]:
            return usual, odd, _only_value(columns[odd])
        return usual, modelled[worst], looks[worst]


def _parts_of(judge: Judge, cells: tuple[int, ...]) -> list[Part]:
    return [Part(member.features, cells) for member in judge.estimator.members]


def _largest(i: NDArray[np.intp], values: FloatArray, most: int) -> list[int]:
    """Return the places of the largest values (B,) of each row, for the numbers i of the rows, increasing."""
    order = np.lexsort((-values, i))
    starts = np.searchsorted(i[order], i[order])
    return sorted(order[np.arange(len(i)) - starts < most].tolist())


def _cost(column: Column) -> float:
    """Return how surprising a value is that a column without a density does not have, nats."""
    share = 0.0 if column.other_share is None else -math.log(column.other_share)
    return share + LOG_NEW_VALUES * (column.novelty == "lowest")


def _only_value(column: Column) -> Expected:
    """Return what is expected in a column that had one value in training, or only rare ones."""
    if column.categories is not None:
        name = column.categories[int(column.frequent[0])] if len(column.frequent) else "a rare text"
        return Expected(None, None, None, ((name, 1.0 - (column.other_share or 0.0)),))
    return Expected(column.value, column.value, column.value, None)
