"""The tables of the demo: every row of scikit-learn's data once, malignant rows never in training."""

from __future__ import annotations

import numpy as np
import pyarrow.csv
import pytest
from sklearn.datasets import load_breast_cancer

from anomaly_vae.training.demo_data import write_tables


@pytest.fixture
def tables(tmp_path):
    def written(seed):
        write_tables(tmp_path / "train.csv", tmp_path / "held_out.csv", seed)
        return [pyarrow.csv.read_csv(tmp_path / f"{name}.csv") for name in ("train", "held_out")]

    return written


def matrix(table):
    return np.column_stack([table[name].to_numpy() for name in table.column_names if name != "malignant"])


def test_every_row_is_in_one_table_and_malignant_rows_are_held_out(tables):
    train, held_out = tables(0)
    assert train.column_names == held_out.column_names[:-1]
    assert held_out.column_names[-1] == "malignant"
    assert not any(" " in name for name in train.column_names)
    data = load_breast_cancer()
    together = np.concatenate([matrix(train), matrix(held_out)])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(data.data, axis=0))
    malignant = held_out["malignant"].to_numpy() == 1
    np.testing.assert_array_equal(matrix(held_out)[malignant], data.data[data.target == 0])
    assert (len(train), (~malignant).sum()) == (250, 107)  # 70 % and 30 % of 357 benign rows


def test_the_seed_chooses_the_rows(tables):
    one, again, other = (matrix(tables(seed)[0]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
