"""Tiles of any shape give the same bits as tiles of fixed shape, if the network is batch-invariant."""

import numpy as np
import pytest

from anomaly_vae.density import tiles
from anomaly_vae.scorer import Scorer
from tests.support.data import make_rows
from tests.support.networks import Network
from tests.support.running import assert_same_bits


@pytest.mark.parametrize("which", ["bundle", "ensemble"])
def test_scores_are_the_same_with_fixed_tiles(which, request):
    """On another machine the network may not be batch-invariant. Fixed tiles must give the same bits as here."""
    bundle = request.getfixturevalue(which)
    scorer, fixed = (Scorer(getattr(bundle, "bundle", bundle), threads=2) for _ in range(2))
    for member in fixed._estimator.members:
        member.network.batch_invariant = False
    assert all(member.network.batch_invariant for member in scorer._estimator.members)
    rows = make_rows(150, seed=12)
    rows[::7, 1] = 0.5
    for num_samples in (scorer.num_samples, 64, scorer.budgets[0]):
        assert_same_scores(
            scorer.score_rows(rows, num_samples=num_samples), fixed.score_rows(rows, num_samples=num_samples)
        )
    flags, expected = scorer.flag_rows(rows), fixed.flag_rows(rows)
    assert flags.is_anomaly.tolist() == expected.is_anomaly.tolist()
    assert flags.num_samples.tolist() == expected.num_samples.tolist()


def assert_same_scores(scores, expected):
    if expected.p_value is not None:
        assert_same_bits(scores, expected)
    assert scores.log_px.tobytes() == expected.log_px.tobytes()
    assert scores.std_error.tobytes() == expected.std_error.tobytes()


@pytest.mark.parametrize("batch_invariant", [True, False])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 16, 17, 65])
def test_rows_keep_their_order_and_a_single_row_is_never_computed_alone(batch_invariant, num_rows):
    shapes = []
    network = Network(joint=lambda rows, samples: shapes.append((rows, samples)) or 0.0)
    network.batch_invariant = batch_invariant
    rng = np.random.default_rng(num_rows)
    x, mask = rng.normal(size=(num_rows, 5)).astype(np.float32), np.ones((num_rows, 5), dtype=np.float32)
    loc, scale = tiles.encode(network, x, mask)
    points = rng.normal(size=(64, 2)).astype(np.float32)
    out = tiles.log_joint_at_points(network, x, mask, loc, scale, points)
    expected = (loc[:, None] + scale[:, None] * points).sum(axis=-1) + x[:, :1]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    assert all(rows >= 2 for rows, _ in shapes)
    if not batch_invariant:
        assert set(shapes) == {(16, 64)}
