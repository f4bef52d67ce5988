"""Real tables end to end; tests/benchmarks/adbench.py runs all of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from anomaly_vae.scorer import load
from tests.benchmarks import adbench
from tests.support.data import DATA


@pytest.fixture(scope="module")
def tables():
    folder = DATA / "adbench"
    if not (folder / "40_vowels.npz").exists():
        pytest.skip("needs the ADBench tables; set ANOMALY_VAE_DATA to a folder with adbench/*.npz")
    return folder


@pytest.mark.parametrize(("name", "at_least"), [("40_vowels", 0.95), ("6_cardio", 0.85)])
def test_detection_and_false_positive_rates_on_a_real_table(tables, name, at_least):
    """Train on half of the normal rows; the AUROC is high, and the false positives are within their expected range."""
    row = adbench.run_one(tables / f"{name}.npz", seed=0)
    assert row["auroc"] > at_least
    assert row["finite"]
    assert row["inside@0.05"]


def test_the_command_line_trains_on_a_real_table_with_a_label_and_no_other_option(tables, run_cli, tmp_path):
    train, normal, anomalous = adbench.split(tables / "45_wine.npz", seed=1)
    names = [f"x{d}" for d in range(train.shape[1])]
    for name, rows in (("train", train), ("test", np.concatenate([normal, anomalous]))):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*names, "label"])
            writer.writerows([*map(repr, map(float, row)), 0] for row in rows)
    done = run_cli("train", "train.csv", "-o", "model", "--label", "label")
    assert b"too few for target_fpr 0.01" in done.stderr
    run_cli("score", "model", "test.csv", "-o", "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        scores = [float(row["log_px"]) for row in csv.DictReader(file)]
    expected = load(tmp_path / "model").score(np.concatenate([normal, anomalous])).log_px
    np.testing.assert_array_equal(scores, expected)
    assert np.isfinite(expected).all()


def test_the_benchmark_command_writes_a_row_per_table_and_seed(tables, tmp_path, capsys):
    """A table that cannot be read gives empty cells, not an error."""
    (tmp_path / "45_wine.npz").write_bytes((tables / "45_wine.npz").read_bytes())
    (tmp_path / "broken.npz").write_bytes(b"PK")
    adbench.main([str(tmp_path), "--seeds", "0", "--out", str(tmp_path / "out.csv")])
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["dataset", "seed", "model", "auroc", "ap", "fit_s", "score_s"]
    assert [(row["dataset"], bool(row["auroc"])) for row in rows] == [("45_wine", True), ("broken", False)]
    assert "mean AUROC" in capsys.readouterr().out
