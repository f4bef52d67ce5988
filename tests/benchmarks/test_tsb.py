"""The metric and the series of the benchmark tsb."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.benchmarks import tsb, tsb_metric
from tests.benchmarks.tsb_series import Wanted, read_series, wanted


def by_definition(scores, labels, window):
    """The volume step by step, as the package vus computes it: one loop for each width and threshold."""
    size, total = len(scores), 0.0
    edges = np.flatnonzero(np.diff(labels, prepend=0, append=0))
    anomalies = list(zip(edges[::2], edges[1::2] - 1, strict=True))
    thresholds = -np.sort(-scores)[np.linspace(0, size - 1, tsb_metric.THRESHOLDS).astype(int)]
    for width in range(window + 1):
        weights = labels.astype(float)
        for t in range(size):
            for first, last in anomalies:
                distance = max(first - t, t - last)
                if 0 < distance <= width // 2:
                    weights[t] += np.sqrt(1 - distance / width)
        weights = np.minimum(weights, 1.0)
        groups = []
        for first, last in anomalies:
            start, stop = max(first - width // 2, 0), min(last + width // 2, size - 1)
            if groups and start <= groups[-1][1]:
                groups[-1][1] = stop
            else:
                groups.append([start, stop])
        before = 0.0
        for threshold in thresholds:
            flagged = scores >= threshold
            hits = float(weights @ flagged)
            counted = float(np.where(labels == 1, 1.0, weights * flagged).sum())
            exists = np.mean([flagged[start : stop + 1].any() for start, stop in groups])
            recall = min(hits / ((labels.sum() + counted) / 2), 1.0) * exists
            total += (recall - before) * hits / flagged.sum()
            before = recall
    return total / (window + 1)


@pytest.mark.parametrize("seed", range(4))
def test_the_volume_is_that_of_its_definition(seed):
    """Anomalies lie at the borders, apart, and so near each other that their widened parts touch."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(160, dtype=int)
    for start, length in ((0, 4), (60, 9), (76, 3), (155, 5)):
        labels[start : start + length] = 1
    scores = rng.normal(size=160) + labels * rng.uniform(0, 3)
    scores[rng.integers(160, size=40)] = 0.5  # ties
    assert tsb_metric.vus_pr(scores, labels, 21) == pytest.approx(by_definition(scores, labels, 21), rel=1e-10)


def test_the_window_is_the_lag_of_the_highest_peak_or_a_default():
    time = np.arange(4000)
    assert tsb_metric.period(np.sin(2 * np.pi * time / 48) + 0.3 * np.sin(2 * np.pi * time / 12)) == 48
    assert tsb_metric.period(time.astype(float)) == 125  # a line has no peak
    assert tsb_metric.period(np.sin(2 * np.pi * time / 350)) == 125  # a peak beyond the limit


@pytest.fixture
def folder(tmp_path):
    windows = {
        "a/first.csv": [["2024-01-01 00:10:00.000000", "2024-01-01 00:12:00.000000"]],
        "a/quiet.csv": [],
        "a/absent.csv": [],
    }
    (tmp_path / "windows.json").write_text(json.dumps(windows))
    (tmp_path / "a").mkdir()
    rows = "".join(f"2024-01-01 00:{minute:02d}:00,{minute}\n" for minute in range(60))
    for name in ("first", "quiet"):
        (tmp_path / f"a/{name}.csv").write_text(f"timestamp,value\n{rows}")
    return tmp_path


def test_a_label_starts_after_the_start_of_its_window_and_includes_its_end(folder):
    series = read_series(folder, Wanted("first", "a/first.csv"))
    assert series.values[0] == 1.0  # without the first row
    assert series.values[series.labels == 1].tolist() == [11.0, 12.0]


def test_the_steps_before_the_first_label_train_but_a_quarter_at_most(folder):
    first, quiet = (read_series(folder, each) for each in wanted(folder))
    assert (first.name, first.num_train, quiet.name, quiet.num_train) == ("first", 10, "quiet", 59 // 4)


def test_a_list_chooses_series_and_their_training_steps(folder, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("name,file,train\nmine,a/quiet.csv,20\nother,a/first.csv,\n")
    assert wanted(folder, listed) == [Wanted("mine", "a/quiet.csv", 20), Wanted("other", "a/first.csv")]
    listed.write_text("name,file,train\nmine,a/absent.csv,20\n")
    with pytest.raises(ValueError, match=r"no file 'a/absent.csv'"):
        wanted(folder, listed)


def test_steps_without_a_score_count_as_the_most_normal():
    assert tsb._abnormality(np.array([np.nan, -5.0, -1.0])).tolist() == [1.0, 5.0, 1.0]


def test_without_series_there_are_no_figures(tmp_path, capsys):
    assert tsb.main([str(tmp_path), "--out", str(tmp_path / "out.csv")]) == []
    assert "no windows.json" in capsys.readouterr().out
