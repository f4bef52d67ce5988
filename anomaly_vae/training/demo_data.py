"""The tables of the demo: scikit-learn's breast-cancer data, with benign tumours as normal rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from sklearn.datasets import load_breast_cancer

from anomaly_vae.storage import atomic_file

__all__ = ["write_tables"]

# Share of the benign rows that is held out; chosen to leave 250 rows for training.
_HELD_OUT_SHARE = 0.3


def write_tables(train: Path, held_out: Path, seed: int) -> None:
    """Write two CSV files: 70 % of the benign rows to train on; the other benign and all malignant rows to score.

    The second file has a column ``malignant``, 1 for malignant rows.
    """
    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    benign = np.random.default_rng(seed).permutation(np.flatnonzero(data.target == 1))
    malignant = np.flatnonzero(data.target == 0)
    num_held_out = round(_HELD_OUT_SHARE * len(benign))
    _write(train, names, data.data[benign[num_held_out:]])
    labels = np.repeat([0, 1], [num_held_out, len(malignant)])
    _write(held_out, names, data.data[np.concatenate([benign[:num_held_out], malignant])], labels)


def _write(path: Path, names: list[str], rows: np.ndarray, labels: np.ndarray | None = None) -> None:
    columns = {name: rows[:, d] for d, name in enumerate(names)}
    if labels is not None:
        columns["malignant"] = labels
    with atomic_file(path, overwrite=True) as part:
        pyarrow.csv.write_csv(pa.table(columns), part)
