"""Tiles of any shape give the bits of tiles of fixed shape, where the machine is found to be like that."""

import numpy as np
import pytest

from anomaly_vae import tiles
from anomaly_vae.runtime import takes_any_tile
from anomaly_vae.scorer import Scorer
from tests.conftest import make_rows
from tests.service.running import assert_same_bits


class Network:
    """A model of a few sums, whose bits may be made to depend on the shape of a call."""

    def __init__(self, encoder=lambda rows: 0.0, joint=lambda rows, samples: 0.0):
        self.encoder, self.joint = encoder, joint

    def encode(self, x, mask):
        loc = x[:, :2] * mask[:, :2] + np.float32(self.encoder(len(x)))
        return loc, loc

    def log_joint(self, x, mask, loc, scale, noise):
        z = loc[:, None] + scale[:, None] * noise
        shift = np.float32(self.joint(len(x), len(noise)))
        return z.sum(axis=-1, dtype=np.float32) + (x * mask)[:, :1] + shift


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Network(), True),
        (Network(joint=lambda rows, samples: rows == 1), True),
        (Network(encoder=lambda rows: rows == 1), True),
        (Network(joint=lambda rows, samples: rows == 6), False),
        (Network(joint=lambda rows, samples: samples == 48), False),
        (Network(encoder=lambda rows: 1e-6 * rows), False),
    ],
)
def test_a_network_is_found_to_stand_any_tile_only_if_it_does(network, expected):
    """A single row alone is never computed, so it may differ."""
    assert takes_any_tile(network, 5, 2) is expected


@pytest.mark.parametrize("which", ["bundle", "mixture"])
def test_scores_are_the_same_with_fixed_tiles(which, request):
    """Another machine may not stand any tile; it must then score by the fixed ones, to the same bits as here."""
    bundle = request.getfixturevalue(which)
    scorer, fixed = (Scorer(getattr(bundle, "bundle", bundle), threads=2) for _ in range(2))
    for member in fixed._estimator.members:
        member.network.any_tile = False
    assert all(member.network.any_tile for member in scorer._estimator.members)
    rows = make_rows(150, seed=12)
    rows[::7, 1] = 0.5
    for num_samples in (scorer.num_samples, 64, scorer.budgets[0]):
        assert_same_scores(scorer.score_rows(rows, num_samples), fixed.score_rows(rows, num_samples))
    flags, expected = scorer.flag_rows(rows), fixed.flag_rows(rows)
    assert flags.is_anomaly.tolist() == expected.is_anomaly.tolist()
    assert flags.num_samples.tolist() == expected.num_samples.tolist()


def assert_same_scores(scores, expected):
    if expected.p_value is not None:
        assert_same_bits(scores, expected)
    assert scores.log_px.tobytes() == expected.log_px.tobytes()
    assert scores.std_error.tobytes() == expected.std_error.tobytes()


@pytest.mark.parametrize("any_tile", [True, False])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 16, 17, 65])
def test_rows_keep_their_places_and_single_ones_are_never_computed_alone(any_tile, num_rows):
    shapes = []
    network = Network(joint=lambda rows, samples: shapes.append((rows, samples)) or 0.0)
    network.any_tile = any_tile
    rng = np.random.default_rng(num_rows)
    x, mask = rng.normal(size=(num_rows, 5)).astype(np.float32), np.ones((num_rows, 5), dtype=np.float32)
    loc, scale = tiles.encode(network, x, mask)
    points = rng.normal(size=(64, 2)).astype(np.float32)
    out = tiles.log_joint_at_points(network, x, mask, loc, scale, points)
    expected = (loc[:, None] + scale[:, None] * points).sum(axis=-1) + x[:, :1]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    assert all(rows >= 2 for rows, _ in shapes)
    if not any_tile:
        assert set(shapes) == {(16, 64)}
