"""The tables of tests.benchmarks.default_path, written to folders that its workers read.

Each table has its rows, ``rows.npy`` or ``rows.parquet``, and sets of their indices, ``sets.npz``:

    train       half of the normal rows, as in the benchmark adbench
    normal      other normal rows
    anomalies   anomalous rows
    stream      rows in random order, 1 % of them anomalies
    all         the rows whose flags and scores are compared
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.adbench import split
from tests.benchmarks.cascade import mixed

__all__ = ["MIXED", "Prepared", "prepare", "table_paths"]

# Name of the table with texts and gaps, and the table that it is made from: one with many columns.
MIXED, MIXED_FROM = "mixed", "cardio"

# Columns that become texts, the texts, and the share of the cells that are removed. Chosen, not measured.
TEXT_COLUMNS, TEXTS, GAPS = 2, ("low", "medium", "high", "top"), 0.1


class Prepared(NamedTuple):
    """A table in a folder.

    Attributes:
        name: Its name.
        folder: The folder.
        rows: The rows, an array or a DataFrame.
        sets: Indices by the name of the set.
    """

    name: str
    folder: Path
    rows: Any
    sets: dict[str, np.ndarray]

    def take(self, indices: np.ndarray) -> Any:
        """Return some rows."""
        return self.rows[indices] if isinstance(self.rows, np.ndarray) else self.rows.iloc[indices]


def table_paths(folder: Path) -> dict[str, Path]:
    """Return the files of the ADBench tables by name; the mixed table is made from one of them."""
    paths = {path.stem.partition("_")[2]: path for path in sorted(folder.glob("*.npz"))}
    return paths | ({MIXED: paths[MIXED_FROM]} if MIXED_FROM in paths else {})


def prepare(name: str, path: Path, folder: Path, rows: int, *, quick: bool) -> Prepared:
    """Write a table to a new folder.

    Args:
        name: The table's name.
        path: Its file.
        folder: The new folder.
        rows: Most normal rows, and the rows of the stream; there are a quarter as many anomalies.
        quick: Whether flags and scores are compared on the normal and anomalous rows only.
    """
    train, normal, anomalous = split(path, 0)
    table = np.concatenate([train, normal, anomalous])
    first, second = len(train), len(train) + len(normal)
    sets = {
        "train": np.arange(first),
        "normal": np.arange(first, second)[:rows],
        "anomalies": np.random.default_rng(0).permutation(np.arange(second, len(table)))[: max(rows // 4, 1)],
    }
    sets["stream"] = mixed(np.arange(first, second), np.arange(second, len(table)))[:rows]
    sets["all"] = np.concatenate([sets["normal"], sets["anomalies"]]) if quick else np.arange(len(table))
    folder.mkdir(parents=True)
    np.savez(folder / "sets.npz", **sets)
    if name != MIXED:
        np.save(folder / "rows.npy", table)
        return Prepared(name, folder, table, sets)
    frame = with_texts_and_gaps(table)
    frame.to_parquet(folder / "rows.parquet")
    return Prepared(name, folder, frame, sets)


def with_texts_and_gaps(rows: np.ndarray) -> pd.DataFrame:
    """Turn the columns with the most values into texts by their quantiles, and remove cells at random."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rows, columns=[f"x{d}" for d in range(rows.shape[1])])
    for column in frame.nunique().sort_values(ascending=False, kind="stable").index[:TEXT_COLUMNS]:
        inner = frame[column].quantile(np.arange(1, len(TEXTS)) / len(TEXTS))
        frame[column] = np.array(TEXTS, dtype=object)[np.searchsorted(inner, frame[column])]
    return frame.mask(rng.random(frame.shape) < GAPS)
