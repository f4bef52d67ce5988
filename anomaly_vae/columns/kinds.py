"""Infer the kinds of columns from training rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import KINDS, LEAST_ROWS, MOST_CATEGORIES, UNSEEN, Column, Kind, Schema
from anomaly_vae.errors import ConfigError, InvalidInput

__all__ = ["infer_schema", "recode"]

# Values with a relative difference below 1e-12 count as equal: float64 rounds at 1e-16, and sums and unit conversions
# multiply that.
_ROUNDING = 1e-12

# Gaps of more than a billion steps do not count as a grid. Chosen, not measured: float64 values with a step that small
# would all be on one.
_MOST_MULTIPLES = 1e9

# A grid, or categories, are assumed only if at most half of the values are different. Chosen, not measured.
_MOST_DISTINCT = 0.5

# Columns of text with at most this many values may all be different: they are too few to judge. Chosen, not measured.
_FEW_VALUES = 20

# The largest distance of a gap between neighbouring values from a multiple of the step, in steps: decimals such as 0.1
# are not exact in float64.
_OFF_GRID = 0.01

# Below this limit float64 represents every whole number.
_EXACT_WHOLE = 2**53


def infer_schema(
    rows: FloatArray,
    names: tuple[str, ...],
    *,
    categories: Mapping[str, tuple[str, ...]] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    label: str | None = None,
) -> Schema:
    """Return the columns and their kinds.

    Args:
        rows: Training rows in data units, NaN where a cell is missing, shape (N, D). Columns of text hold indices into
            their categories.
        names: Names of the columns.
        categories: The categories of each column of text, by its name.
        kinds: Kinds set by the user, by the name of the column.
        label: Name of the label column.

    Raises:
        InvalidInput: A column is empty, a column holds names or free text, or no column is left to model.
        ConfigError: ``kinds`` has a kind that does not fit the values of a column, or an unknown column.
    """
    categories, kinds = categories or {}, kinds or {}
    for name in kinds:
        if name not in names:
            raise ConfigError(f"[columns] {name}: there is no such column; the columns are {', '.join(names[:10])}")
    columns = []
    for d, name in enumerate(names):
        values = rows[:, d][~np.isnan(rows[:, d])]
        if not len(values):
            raise InvalidInput(f"column {name!r} is empty in all {len(rows)} training rows; exclude it", field=name)
        if name in categories:
            columns.append(_categorical(name, values, categories[name], kinds.get(name)))
        else:
            columns.append(_numeric(name, values, kinds.get(name)))
    schema = Schema(columns=tuple(columns), label=label)
    if not len(schema.modelled):
        raise InvalidInput(
            f"all {len(names)} columns hold one single value in the {len(rows)} training rows, or only categories in "
            f"fewer than {LEAST_ROWS} rows; there is nothing to model. Check the input, or give columns that vary"
        )
    return schema


def recode(rows: FloatArray, schema: Schema, categories: Mapping[str, tuple[str, ...]]) -> FloatArray:
    """Replace indices into ``categories`` by indices into the schema's categories, in all columns of text."""
    rows = rows.copy()
    for d, column in enumerate(schema.columns):
        if column.categories is not None:
            code = {text: float(i) for i, text in enumerate(column.categories)}
            table = np.array([code.get(text, UNSEEN) for text in categories[column.name]])
            known = ~np.isnan(rows[:, d])
            rows[known, d] = table[rows[known, d].astype(np.int64)]
    return rows


def _categorical(name: str, values: FloatArray, texts: tuple[str, ...], kind: Kind | None) -> Column:
    if kind not in (None, "categorical"):
        raise ConfigError(
            f"[columns] {name} = {kind!r}: the column holds text such as {texts[0]!r}, so it is categorical"
        )
    seen = np.unique(values).astype(int)
    if len(seen) > MOST_CATEGORIES or (len(values) > _FEW_VALUES and len(seen) > _MOST_DISTINCT * len(values)):
        raise InvalidInput(
            f"column {name!r} holds {len(seen)} different texts in {len(values)} rows, such as {texts[seen[0]]!r}: "
            f"these are names or free text, not categories (a column may have {MOST_CATEGORIES}); exclude it",
            field=name,
        )
    counts = np.unique(values, return_counts=True)[1]
    rare, num_rare = np.flatnonzero(counts < LEAST_ROWS), int(counts[counts < LEAST_ROWS].sum())
    has_other_level = num_rare >= LEAST_ROWS
    return Column(
        name=name,
        kind="categorical",
        categories=tuple(texts[code] for code in seen),
        rare=tuple(rare.tolist()),
        other_share=None if has_other_level else _other_share(len(values), num_rare),
        novelty="density" if has_other_level else "lowest",
    )


def _other_share(num_values: int, num_other: int = 0) -> float:
    """Return the probability of a value outside those of the column; see :mod:`anomaly_vae.columns.schema`."""
    return (num_other + 1) / (num_values + 2)


def _numeric(name: str, values: FloatArray, kind: Kind | None) -> Column:
    found = np.unique(values)
    if found[-1] - found[0] <= _ROUNDING * np.abs(found).max():
        share = _other_share(len(values))
        return Column(name=name, kind="constant", value=float(found[0]), other_share=share, novelty="lowest")
    whole = bool((found == np.floor(found)).all()) and abs(found).max() < _EXACT_WHOLE
    if kind is None:
        kind = "binary" if found.tolist() == [0.0, 1.0] else "integer" if whole else "continuous"
    if kind == "continuous":
        return _with_grid(name, values, found)
    _check(name, kind, found, whole=whole)
    if kind == "integer":
        step = float(np.gcd.reduce(np.diff(found).astype(np.int64)))
        return Column(name=name, kind=kind, step=step, origin=float(found[0]))
    return Column(name=name, kind=kind, other_share=_other_share(len(values)), novelty="lowest")


def _check(name: str, kind: Kind, found: FloatArray, *, whole: bool) -> None:
    fits = {
        "integer": whole,
        "count": whole and found[0] >= 0.0,
        "binary": found.tolist() == [0.0, 1.0],
        "constant": False,
    }
    if kind not in KINDS or not fits.get(kind, True):
        odd = next((v for v in found if v != np.floor(v) or v < 0.0 or v > 1.0), found[-1])
        raise ConfigError(f"[columns] {name} = {kind!r}: the column has {len(found)} values, such as {odd:g}")


def _with_grid(name: str, values: FloatArray, found: FloatArray) -> Column:
    step = _step(found) if len(found) <= _MOST_DISTINCT * len(values) else None
    return Column(name=name, kind="continuous", step=step, origin=0.0 if step is None else float(found[0]))


def _step(found: FloatArray) -> float | None:
    """Return the distance of the points of the grid that holds all values (sorted, distinct); None without a grid."""
    with np.errstate(all="ignore"):  # differences of extreme values overflow
        gaps = np.diff(found)
        multiples = np.round(gaps / gaps.min())
        step = float(gaps.sum() / multiples.sum())
        if not multiples.max() < _MOST_MULTIPLES:  # also if it is NaN
            return None
        return step if step > 0.0 and np.all(np.abs(gaps / step - multiples) <= _OFF_GRID) else None
