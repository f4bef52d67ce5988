"""The demo's tables: scikit-learn's breast-cancer data, benign tumours as the normal rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from sklearn.datasets import load_breast_cancer

from anomaly_vae.storage import atomic_file

__all__ = ["write_tables"]

_HELD_OUT = 0.3


def write_tables(train: Path, held_out: Path, seed: int) -> None:
    """Write 70 % of the benign rows to train on, and the others with all malignant ones, marked, as held out."""
    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    benign = np.random.default_rng(seed).permutation(np.flatnonzero(data.target == 1))
    malignant = np.flatnonzero(data.target == 0)
    kept = round(_HELD_OUT * len(benign))
    _write(train, names, data.data[benign[kept:]])
    marks = np.repeat([0, 1], [kept, len(malignant)])
    _write(held_out, names, data.data[np.concatenate([benign[:kept], malignant])], marks)


def _write(path: Path, names: list[str], rows: np.ndarray, marks: np.ndarray | None = None) -> None:
    columns = {name: rows[:, d] for d, name in enumerate(names)}
    if marks is not None:
        columns["malignant"] = marks
    with atomic_file(path, overwrite=True) as part:
        pyarrow.csv.write_csv(pa.table(columns), part)
