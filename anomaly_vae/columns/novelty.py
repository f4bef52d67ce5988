r"""What a value that training never had does to the rank of its row, and warnings about columns with such values.

In some columns a novel cell puts its row below all others, in calibration and in scoring alike. P-values stay valid,
because normal rows are ranked by one rule, but such rows use up the false-positive rate. So it must be a rare event:

- Normal rows have novel cells with about the probability that training rows show. A training row that alone keeps a
  column from being constant, or alone has a category, would have had a novel cell, had it been left out of training.
  The share of these rows estimates that probability (Good-Turing). In columns of text, categories of two rows count as
  well: columns are chosen by this share, and the smallest of many shares would be too small.
- If the share of the constant columns is above a quarter of the target, their novel cells only count by their
  probability. Columns of text, those with the smallest shares first, rank lowest while their shares together are at
  most a quarter of the target; in the others new categories are to be expected, and only count by their probability.
- If still k calibration rows or more rank lowest, with the rank k of the threshold, columns are demoted, so that their
  novel cells only count by their probability: one after the other, in an order that training gives, until fewer than k
  are left. So the threshold is always the score of a calibration row.

The first two rules see training rows only. The third sees calibration rows, and raises the bound on the false-positive
rate from alpha to alpha (1 + P(some M = k)): M counts the rows that rank lowest among the calibration rows and a new
one, after each demotion. M never rises. With M < k the demotions end, whichever row is the new one, and with M > k they
go on. Only with M = k it matters: a new row that ranks lowest leaves k - 1 in the calibration, and is flagged. Another
one leaves k, so the demotions go on to a rule that does not depend on it. Each case has a rate of at most alpha.

References:
    The Population Frequencies of Species and the Estimation of Population Parameters (Good, 1953)
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import LEAST_ROWS, Column, Novelty, Schema

__all__ = [
    "changed_constants_share",
    "demote_frequent",
    "frequent_novelties",
    "new_categories_share",
    "only_rare_categories",
    "with_novelty_from_training",
]

# Share of the target rate that each of the two groups may use up. Chosen, not measured: at least half of the target is
# left for rows with a low density.
_SHARE_OF_TARGET = 0.25

# What a warning says of the rows with novel cells in constant columns, and in the others.
_CHANGED = "another value in columns that were constant in training"
_OUTSIDE = "values that training never had in columns of text, 0/1 or counts"

# Columns that one warning names; the others are counted. Chosen, not measured: it keeps the text short.
_MOST_NAMES = 3

# Share of the lowest calibration rows above which such values are worth a warning. Chosen, not measured: then they
# cause most false alarms.
_LARGE_SHARE = 0.5


def with_novelty_from_training(schema: Schema, rows: FloatArray, target_fpr: float) -> Schema:
    """Return the schema with the novelty of its constant columns and of its columns of text.

    Args:
        schema: The columns.
        rows: Training rows (n, D); a category may have any code.
        target_fpr: Share of normal rows that may be flagged.
    """
    budget, constants = _SHARE_OF_TARGET * target_fpr, _constants(schema)
    fits = changed_constants_share(rows) <= budget
    schema = _with_novelty(schema, constants, "lowest" if fits else "density")
    texts = np.array([column.categories is not None for column in schema.columns]) & ~constants
    shares = np.array(
        [new_categories_share(values) if text else 0.0 for values, text in zip(rows.T, texts, strict=True)]
    )
    order = np.argsort(shares, kind="stable")
    closed = np.empty(len(order), dtype=bool)
    closed[order] = np.cumsum(shares[order]) <= budget
    schema = _with_novelty(schema, texts & closed, "lowest")
    return _with_novelty(schema, texts & ~closed, "density")


def changed_constants_share(rows: FloatArray) -> float:
    """Return the share of the rows (n, D) that alone keep a column from being constant."""
    alone = {_odd_row(values) for values in rows.T} - {None}
    return len(alone) / len(rows)


def new_categories_share(values: FloatArray) -> float:
    """Return how many categories of a column are in one row or in two, per row (n,); NaN where a cell is missing."""
    counts = np.unique(values[~np.isnan(values)], return_counts=True)[1]
    return float(np.isin(counts, (1, 2)).sum()) / len(values)


def _odd_row(values: FloatArray) -> int | None:
    """Return the index of the only value (n,) that differs from all others, which are equal; None if there is none."""
    present = np.flatnonzero(~np.isnan(values))
    if len(present) < 3:
        return None
    first, rest = values[present[0]], values[present[1:]]
    differs = np.flatnonzero(rest != first)
    if len(differs) == 1:
        return int(present[1 + differs[0]])
    return int(present[0]) if len(differs) == len(rest) and bool((rest == rest[0]).all()) else None


def demote_frequent(schema: Schema, rows: FloatArray, k: int) -> tuple[Schema, list[str]]:
    """Return a schema for which fewer than k of the calibration rows rank below all others, and warnings.

    Args:
        schema: The columns.
        rows: Calibration rows, shape (n, D).
        k: Rank of the threshold, at least 1.
    """
    novel, constants, before = schema.novel_cells(rows), _constants(schema), schema
    for group in _stages(schema):
        if int(schema.lowest_cells(novel).any(axis=1).sum()) < k:
            break
        schema = _with_novelty(schema, group, "density")
    demoted = before.lowest_cells(novel) & ~schema.lowest_cells(novel)
    groups = ((constants, _CHANGED), (~constants, _OUTSIDE))
    return schema, [
        _demotion(schema, rows, demoted & group, what, k) for group, what in groups if demoted[:, group].any()
    ]


def _stages(schema: Schema) -> list[NDArray[np.bool_]]:
    """Return the groups of columns (D,) that are demoted one after the other; only training decides the order.

    First the constants, then the columns of text, those with the most rare categories and then with the most categories
    first, and the columns of 0/1 and counts last.
    """
    columns, constants = schema.columns, _constants(schema)
    texts = [d for d, column in enumerate(columns) if column.categories is not None and not constants[d]]
    texts.sort(key=lambda d: (-len(columns[d].rare), -len(columns[d].categories or ())))
    one_by_one = [np.arange(len(columns)) == d for d in texts]
    rest = ~constants & ~np.isin(np.arange(len(columns)), texts)
    return [constants, *one_by_one, rest]


def _demotion(schema: Schema, rows: FloatArray, novel: NDArray[np.bool_], what: str, k: int) -> str:
    """Return the warning about the columns that are demoted, because of their novel cells (n, D)."""
    num_rows = int(novel.any(axis=1).sum())
    return (
        f"{num_rows} of {len(rows)} calibration rows have {what}: {_named(schema, novel, rows)}. They leave no flags "
        f"for other rows: the threshold has rank {k}. So such values no longer put a row below all others, and only "
        "count by their probability. Exclude the columns, merge their values, or train on more rows"
    )


def _constants(schema: Schema) -> NDArray[np.bool_]:
    return np.array([column.is_constant for column in schema.columns])


def _with_novelty(schema: Schema, chosen: NDArray[np.bool_], novelty: Novelty) -> Schema:
    """Return the schema with this novelty in the chosen columns (D,); columns without novel values stay as they are."""
    columns = [
        msgspec.structs.replace(column, novelty=novelty) if is_chosen and column.can_be_novel else column
        for column, is_chosen in zip(schema.columns, chosen.tolist(), strict=True)
    ]
    return msgspec.structs.replace(schema, columns=tuple(columns))


def only_rare_categories(schema: Schema) -> list[str]:
    """Return a warning for each column of text that adds nothing to a score, because all its categories are rare."""
    return [
        f"column {column.name!r}: each of its {len(column.rare)} categories is in fewer than {LEAST_ROWS} training "
        "rows, so the column adds nothing to the scores; merge categories, or exclude it"
        for column in schema.columns
        if column.rare and len(column.rare) == len(column.categories or ())
    ]


def frequent_novelties(schema: Schema, lowest: FloatArray) -> list[str]:
    """Return a warning if values that training hardly had decide which normal rows are flagged.

    Args:
        schema: The columns.
        lowest: The calibration rows that rank at most k-th, shape (k, D).
    """
    other = schema.other_cells(lowest)
    num_rows = int(other.any(axis=1).sum())
    if num_rows <= _LARGE_SHARE * len(lowest):
        return []
    return [
        f"{num_rows} of the {len(lowest)} calibration rows with the lowest scores have a value that training had "
        f"hardly or never: {_named(schema, other, lowest)}. Rows like these take most of the flags; exclude the "
        "columns, merge their rare values, or train on more rows"
    ]


def _named(schema: Schema, cells: NDArray[np.bool_], rows: FloatArray) -> str:
    """Return the names of the columns with the most of these cells (n, D), with their number and an example."""
    counts = cells.sum(axis=0)
    columns = [int(d) for d in np.argsort(-counts, kind="stable") if counts[d]]
    named = [
        f"column {schema.columns[d].name!r} ({counts[d]}{_example(schema.columns[d], rows[cells[:, d], d])})"
        for d in columns[:_MOST_NAMES]
    ]
    more = f" and {len(columns) - _MOST_NAMES} more" if len(columns) > _MOST_NAMES else ""
    return ", ".join(named) + more


def _example(column: Column, values: FloatArray) -> str:
    """Return the first value as a text; nothing for a category that has no code, whose text is not known here."""
    if column.categories is None:
        was = "" if column.value is None else f" where training had {column.value:g}"
        return f", such as {values[0]:g}{was}"
    known = [column.categories[int(code)] for code in values[values >= 0.0][:1]]
    return f", such as {known[0]!r}" if known else ", texts that training never had"
