"""The estimator of log p(x) where the exact value is known."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import anomaly_vae
from anomaly_vae.density.importance import _UNSEEN_SHARE, summarise
from anomaly_vae.training.noise import sobol_normal
from tests.support.reference import gaussian_log_prob
from tests.support.same_bits import assert_rows_stand_alone


def linear_gaussian(seed=7):
    """Probabilistic PCA with orthogonal columns: the posterior is diagonal (Tipping & Bishop, 1999)."""
    rng = np.random.default_rng(seed)
    orthonormal, _ = np.linalg.qr(rng.normal(size=(5, 2)))
    W, b, sigma = orthonormal * [2.0, 0.5], rng.normal(size=5), 0.3
    x = b + rng.normal(size=(64, 5)) * 1.5
    precision = 1.0 + (W**2).sum(0) / sigma**2
    loc, log_var = (x - b) @ W / sigma**2 / precision, -np.log(precision)
    exact = multivariate_normal(b, W @ W.T + sigma**2 * np.eye(5)).logpdf(x)
    return x, W, b, sigma, loc, log_var, exact


def log_weights(noise, widen=0.0):
    """Return log-weights (N, R, n) of the model above; the proposal is its widened posterior."""
    x, W, b, sigma, loc, log_var, exact = linear_gaussian()
    log_var = log_var + widen
    points = noise.reshape(-1, 2).astype(np.float64)
    z = loc[:, None] + np.exp(0.5 * log_var) * points
    log_joint = gaussian_log_prob(x[:, None], z @ W.T + b, np.full(5, 2 * np.log(sigma)))
    log_joint += gaussian_log_prob(z, np.zeros(2), np.zeros(2))
    log_q = gaussian_log_prob(z, loc[:, None], log_var)
    return (log_joint - log_q).reshape(len(x), *noise.shape[:2]), exact


@pytest.mark.parametrize("shape", [(2, 1), (16, 1), (16, 4), (3, 7)])
def test_exact_posterior_recovers_the_exact_marginal(shape):
    """With q(z | x) = p(z | x) every weight equals p(x): the estimate is exact at any K, and so is the ELBO."""
    weights, exact = log_weights(np.random.default_rng(0).normal(size=(*shape, 2)))
    got = summarise(weights, np.zeros(64))
    np.testing.assert_allclose(got.log_px, exact, rtol=1e-11)
    np.testing.assert_allclose(got.elbo, exact, rtol=1e-11)
    np.testing.assert_allclose(got.ess_ratio, 1.0, rtol=1e-9)


def test_wider_proposal_converges_to_the_marginal_within_its_error():
    """A sampler that ignores its noise, or an estimate without -log K, would fail. The ELBO must stay below."""
    weights, exact = log_weights(sobol_normal(16, 256, 2, seed=1), widen=1.0)
    got = summarise(weights, np.zeros(64))
    assert np.abs(got.log_px - exact).max() < 0.01
    assert np.mean(np.abs(got.log_px - exact) < 2.95 * got.std_error) > 0.95  # Student's t, 15 d.o.f., 99 %
    assert np.all(got.elbo < exact - 0.1)


def test_standard_error_matches_the_scatter_of_independent_estimates():
    """The spread over scramblings predicts the scatter of estimates with new scramblings.

    The unseen part is a share of the error of independent samples, which have more scatter than Sobol points.
    """
    weights = (log_weights(sobol_normal(16, 16, 2, seed=seed), widen=1.5)[0] for seed in range(60))
    runs = [summarise(one, np.zeros(64)) for one in weights]
    scatter = np.std([run.log_px for run in runs], axis=0)
    independent = np.mean([(1.0 / run.ess_ratio - 1.0) / 256 for run in runs], axis=0)
    stated = np.mean([run.std_error**2 for run in runs], axis=0)
    spread = np.sqrt(stated - _UNSEEN_SHARE**2 * independent)
    assert 0.8 < np.median(spread / scatter) < 1.25
    assert np.all(np.sqrt(stated) > scatter)
    assert np.all(np.sqrt(stated) < 1.2 * np.sqrt(independent))


def test_rounding_enters_the_error():
    """Equal weights have no spread. The error is then the float32 rounding of the largest term."""
    error = summarise(np.zeros((1, 16, 4)), np.array([2.0**23])).std_error
    assert 0.01 < error[0] < 100.0


def test_one_scrambling_with_over_half_of_the_total_has_no_valid_error():
    """The spread over scramblings is then no measure of the error: NaN is better than a wrong number."""
    weights = np.zeros((2, 16, 4))
    weights[0, 3, 1] = 50.0
    got = summarise(weights, np.zeros(2))
    assert got.ess_ratio[1] == pytest.approx(1.0)
    assert np.isnan(got.std_error[0])
    assert got.std_error[1] == 0.0
    assert got.ess_ratio[0] == pytest.approx(1 / 64)


def test_scramblings_that_agree_by_chance_do_not_make_the_error_zero():
    """Each scrambling has one large weight, so their means are equal. Without it, p(x) would be very different.

    The error then is a share of that of independent samples: sqrt((1 / ess - 1) / K).
    """
    weights = np.zeros((1, 16, 4))
    weights[0, np.arange(16), np.arange(16) % 4] = 4.0
    got = summarise(weights, np.zeros(1))
    independent = float(np.sqrt((1.0 / got.ess_ratio[0] - 1.0) / 64))
    assert 0.25 * independent < got.std_error[0] < independent


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 4)), np.zeros((3, 0, 4)), np.full((1, 2, 2), np.nan), np.full((1, 2, 2), np.inf)]
)
def test_bad_log_weights_are_refused(bad):
    with pytest.raises(ValueError, match="log_weights"):
        summarise(bad, np.zeros(len(bad)))


def test_a_row_whose_weights_are_all_zero_has_no_density_and_no_error():
    weights = np.zeros((2, 2, 3))
    weights[0] = -np.inf
    got = summarise(weights, np.zeros(2))
    assert got.log_px.tolist() == [-np.inf, 0.0]
    assert got.elbo.tolist() == [-np.inf, 0.0]
    assert np.isnan(got.std_error).tolist() == [True, False]
    assert np.isnan(got.ess_ratio).tolist() == [True, False]


def test_a_row_s_summary_does_not_depend_on_the_other_rows():
    weights = np.random.default_rng(5).normal(size=(20, 16, 12)) * 3
    weights[4] = -np.inf
    terms = np.linspace(0.0, 1e4, 20)
    assert_rows_stand_alone(lambda rows: tuple(summarise(weights[rows], terms[rows])), 20)


def test_elbo_is_at_most_log_px():
    """Jensen's inequality holds for every finite set of weights."""
    weights = np.random.default_rng(5).normal(size=(500, 4, 8)) * 10
    got = summarise(weights, np.zeros(500))
    assert np.all(got.elbo <= got.log_px)


PACKAGE = Path(anomaly_vae.__file__).parent
SCORING_MODULES = [*(PACKAGE / "scorer").glob("*.py"), PACKAGE / "arrays.py", PACKAGE / "columns" / "likelihood.py"]
SCORING_MODULES += [*(PACKAGE / "columns" / "heads").glob("*.py"), *(PACKAGE / "density").glob("*.py")]

# Each is tested bit for bit in the file of its module.
PRODUCTS_OF_STACKS = {
    ("matrices", "multiply_stacks"),
    ("modes", "_newton_step"),
    ("proposals", "draw"),
    ("proposals", "refit"),
    ("starts", "StartingPoints"),
}


@pytest.mark.parametrize("path", SCORING_MODULES, ids=lambda path: path.stem)
def test_scoring_uses_no_two_dimensional_products_of_numpy(path):
    """Their bits change with the number of rows. Modules with products of stacks have tests of their bits."""
    tree = ast.parse(path.read_text())
    allowed = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (path.stem, node.name) in PRODUCTS_OF_STACKS
    ]
    exempt = {id(node) for function in allowed for node in ast.walk(function)}
    products = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.MatMult)
        or (isinstance(node, ast.Attribute) and node.attr in ("dot", "matmul", "einsum", "inner", "tensordot"))
    ]
    assert not [node for node in products if id(node) not in exempt]
