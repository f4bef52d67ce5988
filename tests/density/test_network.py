"""The check whether a network gives a row the same bits in calls of every shape."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.network import is_batch_invariant
from tests.support.networks import Network


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Network(), True),
        (Network(joint=lambda rows, samples: rows == 1), True),
        (Network(encoder=lambda rows: rows == 1), True),
        (Network(joint=lambda rows, samples: rows == 6), False),
        (Network(joint=lambda rows, samples: samples == 48), False),
        (Network(encoder=lambda rows: 1e-6 * rows), False),
        (Network(posterior=lambda rows: rows == 1), True),
        (Network(posterior=lambda rows: rows % 4 != 0), True),
        (Network(posterior=lambda rows: rows == 16), False),
        (Network(posterior=lambda rows: rows == 4), False),
        (Network(likelihood=lambda rows: rows == 1), True),
        (Network(likelihood=lambda rows: 1e-5 * rows), False),
    ],
)
def test_a_network_is_found_batch_invariant_only_if_it_is(network, expected):
    """A single row is never computed alone, so it may differ; calls of posterior have a multiple of 4 rows."""
    assert is_batch_invariant(network, 5, 2) is expected


def test_missing_cells_take_part_in_the_check():
    """About 10 % of the cells of the probe are missing; their x is 0, as in the encoder's input."""
    seen = []

    class Recording(Network):
        def encode(self, x, mask):
            seen.append((x, mask))
            return super().encode(x, mask)

    assert is_batch_invariant(Recording(), 50, 2)
    x, mask = max(seen, key=lambda pair: len(pair[0]))
    assert set(mask.ravel()) == {0.0, 1.0}
    assert mask.mean() == pytest.approx(0.9, abs=0.02)
    assert not x[mask == 0.0].any()


def test_samples_of_each_row_take_part_in_the_check():
    """No two rows or samples of the probe are equal, and all samples are compared."""
    seen = []

    class Recording(Network):
        def log_joint(self, x, mask, z):
            seen.append(z)
            return super().log_joint(x, mask, z)

    assert is_batch_invariant(Recording(), 5, 2)
    for z in seen:
        assert len(np.unique(z.reshape(-1, 2), axis=0)) == z.shape[0] * z.shape[1]

    class Odd(Network):
        def log_joint(self, x, mask, z):
            last = np.arange(z.shape[1]) == z.shape[1] - 1
            return super().log_joint(x, mask, z) + np.float32(last & (len(z) == 6))

    assert not is_batch_invariant(Odd(), 5, 2)
