"""Why a row is an anomaly: its columns in the order of blame, and what was expected in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.shapes import ImageShape, Shape
from anomaly_vae.errors import ConfigError
from anomaly_vae.explained import Why
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scorer.blame import Blame, blame
from anomaly_vae.scorer.judge import Judge
from anomaly_vae.scorer.known import known_of
from anomaly_vae.scorer.surprises import Surprises

__all__ = ["Explainer"]

# Regions of rows that are looked at together. Chosen: it bounds the memory.
_MOST_LOOKS = 2**11


class Explainer:
    """Explains rows (N, D), float64 in data units and checked against the schema."""

    def __init__(self, judge: Judge) -> None:
        """Take the open model."""
        self._judge, self._schema, self._looks = judge, judge.bundle.manifest.schema, Surprises(judge)

    def explain(self, rows: FloatArray, top: int, on_rows: Callable[[int], None] | None = None) -> list[list[Why]]:
        """Return what is to blame of each row, most first; see :meth:`anomaly_vae.scorer.Scorer.explain`."""
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise ConfigError(f"top must be a whole number from 1, got {top!r}")
        step = max(_MOST_LOOKS // len(self._looks.regions), 1)
        found: list[list[Why]] = []
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            blamed = blame(self._looks, part, known_of(self._judge, part), top)
            for row, of_row in zip(part, blamed, strict=True):
                novel = self._schema.novel_cells(row[None])[0]
                found.append([self._why(row, novel, each) for each in of_row[:top]])
            if on_rows:
                on_rows(len(part))
        return found

    def heat(self, rows: FloatArray) -> FloatArray:
        """Return the rough surprise of each cell's region, shared by its cells, nats, (N, D) -> (N, D)."""
        log_px = self._judge.scores(rows, ScoreOptions()).log_px
        quick = self._looks.quick(rows, log_px, self._looks.present(rows))
        found = np.zeros(rows.shape)
        for g, region in enumerate(self._looks.regions):
            share = np.where(np.isfinite(quick[:, g]), quick[:, g], 0.0) / len(region.cells)
            found[:, list(region.cells)] = share[:, None]
        return found

    def _why(self, row: FloatArray, novel: FloatArray, found: Blame) -> Why:
        surprise, regions = found.surprise, self._looks.regions
        column, expected = self._schema.columns[surprise.cell], surprise.expected
        return Why(
            column=regions[surprise.region].name,
            value=_value(column, float(row[surprise.cell])),
            nats=surprise.nats,
            std_error=surprise.std_error,
            excess=surprise.excess,
            low=_possible(self._schema.shape, expected.low),
            middle=_possible(self._schema.shape, expected.middle),
            high=_possible(self._schema.shape, expected.high),
            levels=expected.levels,
            p_value_without=float(surprise.rest.p_value[0]),
            together=tuple(regions[g].name for g in found.together),
            is_novel=bool(novel[surprise.cell]),
            cell=None if self._schema.shape is None else column.name,
        )


def _possible(shape: Shape | None, value: float | None) -> float | None:
    """Return an expected value; that of a pixel is at most what a file can hold, and at least 0."""
    if value is None or not isinstance(shape, ImageShape) or shape.depth != "uint8":
        return value
    return min(max(value, shape.low), shape.high)


def _value(column: Column, value: float) -> float | str | None:
    """Return the value of a cell as people know it."""
    if column.categories is None:
        return value
    return column.categories[int(value)] if value >= 0.0 else None
