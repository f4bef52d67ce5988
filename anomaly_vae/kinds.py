"""Reads the kinds of columns off training rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.schema import KINDS, MOST_CATEGORIES, UNSEEN, Column, Kind, Schema

__all__ = ["infer_schema", "recode"]

# Values that differ by less than this part of them differ by rounding.
_ROUNDING = 1e-12

# A step of which values are more multiples than this is none that anyone chose.
_MOST_MULTIPLES = 1e9

# A column with fewer different values than this share of its rows repeats itself.
_REPEATS = 0.5

# Gaps between neighbouring values may miss a multiple of the step by this share of it: decimals are no exact floats.
_OFF_GRID = 0.01


def infer_schema(
    rows: FloatArray,
    names: tuple[str, ...],
    *,
    categories: Mapping[str, tuple[str, ...]] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    label: str | None = None,
) -> Schema:
    """Columns and their kinds from training rows of shape (N, D), NaN where a cell is missing.

    Args:
        rows: Data units; text columns hold indices into their categories.
        names: Of the columns.
        categories: The texts of the text columns.
        kinds: Kinds that the user knows better.
        label: Name of the label column.

    Raises:
        InvalidInput: A column has no values at all, or is all names or free text; or nothing is left to model.
        ConfigError: A kind that does not fit the column's values, or of a column that is not there.
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
            f"all {len(names)} columns hold one single value in the {len(rows)} training rows; "
            "there is nothing to model. Check the input, or give columns that vary"
        )
    return schema


def recode(rows: FloatArray, schema: Schema, categories: Mapping[str, tuple[str, ...]]) -> FloatArray:
    """Rows whose text columns hold indices into other lists of categories, with indices into the schema's."""
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
        raise ConfigError(f"[columns] {name} = {kind!r}: the column holds text such as {texts[0]!r}, so is categorical")
    seen = np.unique(values).astype(int)
    if len(seen) > MOST_CATEGORIES or (len(values) > 20 and len(seen) > _REPEATS * len(values)):
        raise InvalidInput(
            f"column {name!r} holds {len(seen)} different texts in {len(values)} rows, such as {texts[seen[0]]!r}: "
            f"names or free text rather than categories (of which a column may have {MOST_CATEGORIES}); exclude it",
            field=name,
        )
    return Column(name=name, kind="categorical", categories=tuple(texts[code] for code in seen))


def _numeric(name: str, values: FloatArray, kind: Kind | None) -> Column:
    found = np.unique(values)
    if found[-1] - found[0] <= _ROUNDING * np.abs(found).max():
        return Column(name=name, kind="constant", value=float(found[0]))
    whole = bool((found == np.floor(found)).all()) and abs(found).max() < 2**53
    if kind is None:
        kind = "binary" if found.tolist() == [0.0, 1.0] else "integer" if whole else "continuous"
    if kind == "continuous":
        return _with_grid(name, values, found)
    _check(name, kind, found, whole=whole)
    if kind == "integer":
        step = float(np.gcd.reduce(np.diff(found).astype(np.int64)))
        return Column(name=name, kind=kind, step=step, origin=float(found[0]))
    return Column(name=name, kind=kind)


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
    step = _step(found) if len(found) <= _REPEATS * len(values) else None
    return Column(name=name, kind="continuous", step=step, origin=0.0 if step is None else float(found[0]))


def _step(found: FloatArray) -> float | None:
    """The distance of grid points that sorted different values lie on, None if they lie on none."""
    with np.errstate(all="ignore"):  # of values that far apart
        gaps = np.diff(found)
        multiples = np.round(gaps / gaps.min())
        step = float(gaps.sum() / multiples.sum())
        if not multiples.max() < _MOST_MULTIPLES:
            return None
        return step if step > 0.0 and np.all(np.abs(gaps / step - multiples) <= _OFF_GRID) else None
