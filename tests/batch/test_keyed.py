"""Records that carry the order of their rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.batch.keyed import lowest_rows, with_keys, without_keys
from anomaly_vae.batch.selection import NUM_KEYS, Part

RNG = np.random.default_rng(3)


def part(rows, *, flags=True, start=0):
    usable = RNG.random(rows) < 0.7
    keys = RNG.integers(0, 3, size=(int(usable.sum()), NUM_KEYS)).astype(float)
    keys[:, -1] = start + 1 + np.flatnonzero(usable)
    chosen = RNG.random(len(keys)) < 0.5 if flags else None
    cells = iter(chosen.tolist() if flags else [None] * len(keys))
    column = [next(cells) if each else None for each in usable]
    records = pa.RecordBatch.from_pydict({"id": list(range(rows)), "is_anomaly": pa.array(column, pa.bool_())})
    return Part(records, usable, chosen, keys)


@pytest.mark.parametrize("flags", [True, False])
def test_a_part_comes_back_as_it_was(flags):
    given = part(50, flags=flags)
    found = without_keys(with_keys(given))
    assert found.records.equals(given.records)
    np.testing.assert_array_equal(found.usable, given.usable)
    np.testing.assert_array_equal(found.keys, given.keys)
    assert (found.flags is None) == (given.flags is None)
    if flags:
        np.testing.assert_array_equal(found.flags, given.flags)


def test_the_lowest_rows_keep_their_order_and_rows_without_keys_go():
    parts = [part(30, start=30 * i) for i in range(3)]
    table = pa.Table.from_batches([with_keys(each) for each in parts])
    keys = np.concatenate([each.keys for each in parts])
    ranked = sorted(map(tuple, keys.tolist()))
    for most in (1, 7, len(keys), 1000):
        found = lowest_rows(table, most)
        numbers = found["key_3"].to_pylist()
        assert numbers == sorted(row[-1] for row in ranked[:most])
    assert lowest_rows(table.slice(0, 0), 3).num_rows == 0


def test_a_part_without_keys_is_refused():
    with pytest.raises(ValueError, match="no keys"):
        with_keys(part(3)._replace(keys=None))
