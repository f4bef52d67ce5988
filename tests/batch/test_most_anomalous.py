"""The most anomalous rows of a job."""

from __future__ import annotations

import json

import numpy as np

from anomaly_vae.batch.most_anomalous import MostAnomalous, ShownRow


def shown(keys):
    score = -np.inf if keys[2] == -np.inf else keys[2]
    return ShownRow(int(keys[3]), keys, score, keys[1], None, None, [("id", f"r{keys[3]:.0f}")])


def filled(keys, size, most=None):
    most = most or MostAnomalous()
    for start in range(0, len(keys), size):
        part = keys[start : start + size]
        most.add(part, lambda place, part=part: shown(part[place].tolist()))
    return most


def keys_of(n, seed=0):
    """Few p-values, so that many rows are equal in them."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    score[::50] = -np.inf
    is_usual = rng.integers(0, 2, n)
    is_usual[::50] = 0
    return np.column_stack([is_usual, is_usual * rng.integers(1, 9, n) / 9.0, score, 1.0 + np.arange(n)])


def test_the_rows_are_those_that_sorting_all_of_them_gives():
    keys = keys_of(3_000)
    expected = keys[np.lexsort(keys.T[::-1])[:20], 3].astype(int).tolist()
    for size in (1, 64, 3_000):
        assert [row.number for row in filled(keys, size).rows] == expected


def test_cells_are_read_only_of_rows_that_are_kept():
    """Among 3,000 sorted rows no later batch has any that come first."""
    keys, seen = keys_of(3_000), []
    keys = keys[np.lexsort(keys.T[::-1])]
    keys[:, 3] = 1 + np.arange(3_000)
    most = MostAnomalous()
    for start in range(0, 3_000, 100):
        part = keys[start : start + 100]
        most.add(part, lambda place, part=part, start=start: seen.append(start) or shown(part[place].tolist()))
    assert seen == [0] * 20


def test_a_state_goes_through_json_with_infinite_scores():
    keys = keys_of(500)
    first, second = filled(keys[:300], 100), MostAnomalous()
    text = json.dumps(first.state(), allow_nan=False)
    assert "-inf" in text
    second.restore(json.loads(text))
    assert second.rows == first.rows
    assert filled(keys[300:], 100, second).rows == filled(keys, 500).rows


def test_flags_that_are_decided_later_reach_the_rows():
    most = filled(keys_of(100), 100)
    flags = np.arange(1, 101) % 2 == 0
    most.decided(flags[:60], 1)
    most.decided(flags[60:], 61)
    assert [row.is_anomaly for row in most.rows] == [row.number % 2 == 0 for row in most.rows]
