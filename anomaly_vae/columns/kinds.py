"""Infer the kinds of columns from training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.angles import wrapped
from anomaly_vae.columns.reading.codes import UNSEEN
from anomaly_vae.columns.schema import KINDS, LEAST_ROWS, MOST_CATEGORIES, Column, Kind, Schema
from anomaly_vae.errors import ConfigError, InvalidInput

__all__ = ["check_modelled", "infer_column", "recode", "too_many_texts"]

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

# A grid on a circle is assumed only if it has at least 4 points and values are on at least half of them. Chosen, not
# measured: a grid bounds the concentration of the head, and the few times at which a job runs are no reason to.
_FEWEST_POINTS, _LEAST_SHARE_OF_CIRCLE = 4, 0.5

# Below this limit float64 represents every whole number.
_EXACT_WHOLE = 2**53


def infer_column(
    name: str,
    cells: FloatArray,
    *,
    texts: tuple[str, ...] | None = None,
    kind: Kind | None = None,
    period: float | None = None,
) -> Column:
    """Return one column and its kind.

    Args:
        name: Its name.
        cells: Its cells in the training rows, NaN for missing ones, shape (N,).
        texts: The categories of a column of text.
        kind: The kind that the user set.
        period: The period of a cyclic column, data units.

    Raises:
        InvalidInput: The column is empty, or holds names or free text.
        ConfigError: ``kind`` does not fit its values.
    """
    values = cells[~np.isnan(cells)]
    if not len(values):
        raise InvalidInput(f"column {name!r} is empty in all {len(cells)} training rows; exclude it", field=name)
    if texts is not None:
        return _categorical(name, values, texts, kind)
    return _numeric(name, values, kind) if period is None else _cyclic(name, values, period, kind)


def check_modelled(columns: Sequence[Column], num_rows: int) -> None:
    """Raise InvalidInput if no column varies enough to be modelled."""
    if not any(column.is_modelled for column in columns):
        raise InvalidInput(
            f"all {len(columns)} columns hold one single value in the {num_rows} training rows, or only categories in "
            f"fewer than {LEAST_ROWS} rows; there is nothing to model. Check the input, or give columns that vary"
        )


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
    if (problem := too_many_texts(values, texts)) is not None:
        raise InvalidInput(f"column {name!r} {problem}; exclude it", field=name)
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


def too_many_texts(values: FloatArray, texts: tuple[str, ...]) -> str | None:
    """Return why a column of texts cannot be learned, as the end of a sentence; None if it can.

    Args:
        values: Indices into ``texts``, shape (n,).
        texts: The texts of the column.
    """
    seen = np.unique(values).astype(int)
    if len(seen) <= MOST_CATEGORIES and (len(values) <= _FEW_VALUES or len(seen) <= _MOST_DISTINCT * len(values)):
        return None
    limit = f"{MOST_CATEGORIES}" if len(seen) > MOST_CATEGORIES else f"one for {round(1 / _MOST_DISTINCT)} rows"
    return (
        f"holds {len(seen)} different texts in {len(values)} rows, such as {texts[seen[0]]!r}: names or free text, not "
        f"categories (at most {limit})"
    )


def _cyclic(name: str, values: FloatArray, period: float, kind: Kind | None) -> Column:
    if kind not in (None, "cyclic"):
        raise ConfigError(f"[columns] {name} = {kind!r}: the values repeat after {period:g}, so the column is cyclic")
    values = wrapped(values, period)
    found = np.unique(values)
    if len(found) == 1:
        return _constant(name, float(found[0]), len(values))
    step = _step(found) if len(found) <= _MOST_DISTINCT * len(values) else None
    points = 0 if step is None else round(period / step)
    closes = step is not None and abs(period / step - points) <= _OFF_GRID
    if not (closes and points >= _FEWEST_POINTS and len(found) >= _LEAST_SHARE_OF_CIRCLE * points):
        return Column(name=name, kind="cyclic", period=period)
    return Column(name=name, kind="cyclic", period=period, step=period / points, origin=float(found[0]))


def _constant(name: str, value: float, num_values: int) -> Column:
    return Column(name=name, kind="constant", value=value, other_share=_other_share(num_values), novelty="lowest")


def _other_share(num_values: int, num_other: int = 0) -> float:
    """Return the probability of a value outside those of the column; see :mod:`anomaly_vae.columns.schema`."""
    return (num_other + 1) / (num_values + 2)


def _numeric(name: str, values: FloatArray, kind: Kind | None) -> Column:
    found = np.unique(values)
    with np.errstate(over="ignore"):  # of extreme values
        is_one = found[-1] - found[0] <= _ROUNDING * np.abs(found).max()
    if is_one:
        return _constant(name, float(found[0]), len(values))
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
