"""Tiles of any shape give the same bits as tiles of fixed shape, if the network is batch-invariant."""

import numpy as np
import pytest

from anomaly_vae.density import tiles
from anomaly_vae.scorer import Scorer
from tests.support.data import make_rows
from tests.support.models import ALL, COLUMNS, features_of, member_of, rows_of, vae_of
from tests.support.networks import Network
from tests.support.running import assert_same_bits
from tests.support.same_bits import assert_rows_stand_alone


@pytest.mark.parametrize("which", ["bundle", "ensemble"])
def test_scores_are_the_same_with_fixed_tiles(which, request):
    """On another machine the network may not be batch-invariant. Fixed tiles must give the same bits as here."""
    bundle = request.getfixturevalue(which)
    scorer, fixed = (Scorer(getattr(bundle, "bundle", bundle), threads=2) for _ in range(2))
    for member in fixed._judge.estimator.members:
        member.network.batch_invariant = False
    assert all(member.network.batch_invariant for member in scorer._judge.estimator.members)
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
    z = loc[:, None] + scale[:, None] * rng.normal(size=(64, 2)).astype(np.float32)
    out = tiles.log_joint_at(network, x, mask, z)
    np.testing.assert_allclose(out, z.sum(axis=-1) + x[:, :1], rtol=1e-5, atol=1e-5)
    assert all(rows >= 2 for rows, _ in shapes)
    if not batch_invariant:
        assert set(shapes) == {(16, 64)}


@pytest.mark.parametrize("batch_invariant", [True, False])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 16, 17, 65, 130])
def test_every_graph_gives_one_result_per_row_in_their_order(batch_invariant, num_rows):
    shapes = []
    network = Network(
        posterior=lambda rows: shapes.append(rows) or 0.0,
        likelihood=lambda rows: shapes.append(rows) or 0.0,
        joint=lambda rows, samples: shapes.append(rows) or 0.0,
    )
    network.batch_invariant = batch_invariant
    rng = np.random.default_rng(num_rows)
    x, z = (rng.normal(size=(num_rows, size)).astype(np.float32) for size in (5, 2))
    mask, params = np.ones_like(x), rng.normal(size=(64, 3)).astype(np.float32)
    value = z[:, :1] + x[:, :1]
    found = tiles.posterior(network, x, mask, z)
    np.testing.assert_array_equal(found.log_joint, value)
    np.testing.assert_array_equal(found.gradient, -z)
    np.testing.assert_array_equal(found.curvature, np.eye(2, dtype=np.float32) + value[:, :, None])
    np.testing.assert_array_equal(tiles.likelihood(network, x, mask, params), x[:, :1] + params[:, 0])
    own = rng.normal(size=(num_rows, 32, 2)).astype(np.float32)
    wanted = own.sum(axis=-1) + x[:, :1]
    np.testing.assert_allclose(tiles.log_joint_at(network, x, mask, own), wanted, rtol=1e-5, atol=1e-5)
    assert min(shapes) >= 2
    assert batch_invariant or set(shapes) == {16}


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 16, 17, 63, 65, 130])
def test_calls_of_the_posterior_graph_have_a_multiple_of_four_rows(num_rows):
    """The last elements of an array may have other bits, if their number is no multiple of a vector's length."""
    shapes = []
    network = Network(posterior=lambda rows: shapes.append(rows) or 0.0)
    network.batch_invariant = True
    x = np.random.default_rng(0).normal(size=(num_rows, 5)).astype(np.float32)
    found = tiles.posterior(network, x, np.ones_like(x), x[:, :2])
    np.testing.assert_array_equal(found.log_joint, x[:, :1] + x[:, :1])
    assert {rows % 4 for rows in shapes} == {0}
    assert sum(shapes) == -(-num_rows // 4) * 4


@pytest.mark.parametrize("samples", [1, 48, 3000])
def test_a_row_s_own_samples_are_its_own(samples):
    """More samples than fit in one call are cut into several."""
    network = Network()
    network.batch_invariant = True
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(5, 5)).astype(np.float32), rng.normal(size=(5, samples, 2)).astype(np.float32)
    got = tiles.log_joint_at(network, x, np.ones_like(x), z)
    np.testing.assert_allclose(got, z.sum(axis=-1) + x[:, :1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_rows", [1, 63, 64, 65, 200])
def test_decoded_points_keep_their_order(num_rows):
    z = np.random.default_rng(0).normal(size=(num_rows, 2)).astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(tiles.decode(Network(), z), z)


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("names", [*((name,) for name in COLUMNS), ALL], ids="-".join)
def test_a_row_s_bits_do_not_depend_on_the_other_rows(names, latent_dim):
    """For every head and graph: rows have all places in a call, and calls have all sizes.

    Vectorised functions may give the last elements of an array other bits than the others.
    """
    vae = vae_of(*names, latent_dim=latent_dim)
    features = features_of(*names, vae=vae)
    network = member_of(vae, features).network
    rng = np.random.default_rng(0)
    inputs = features.encode(rows_of(120, *names))
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    z = (3.0 * rng.normal(size=(120, 32, latent_dim))).astype(np.float32)
    params = tiles.decode(network, rng.normal(size=(64, latent_dim))).astype(np.float32)

    def call(rows):
        return (
            *tiles.encode(network, x[rows], mask[rows]),
            *tiles.posterior(network, x[rows], mask[rows], z[rows, 0]),
            tiles.likelihood(network, x[rows], mask[rows], params),
            tiles.log_joint_at(network, x[rows], mask[rows], z[rows]),
        )

    assert_rows_stand_alone(call, 120, steps=(1, 3, 5, 38))


@pytest.mark.parametrize("name", COLUMNS)
def test_the_graphs_of_every_head_are_batch_invariant(name):
    """On this machine. If the check finds one that is not, small tiles make every call slower."""
    for latent_dim in (1, 2, 3, 8):
        vae = vae_of(name, latent_dim=latent_dim)
        assert member_of(vae, features_of(name, vae=vae)).network.batch_invariant
