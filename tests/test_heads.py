"""Every head against independent code: its value, its slope, its curvature, its total, and its ONNX form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln

from anomaly_vae.likelihood import TableLikelihood
from anomaly_vae.sampling import sample_rows
from anomaly_vae.special import log_gamma, sigmoid, softplus
from tests.models import ALL, estimator_of, features_of, member_of, rows_of, vae_of


def log_prob(name: str, rows: np.ndarray, params: np.ndarray) -> np.ndarray:
    """log p(x|z) in data units of rows of one column at parameters (P,)."""
    features = features_of(name)
    inputs = features.encode(rows)
    return TableLikelihood(features.layout).log_prob(inputs.x, inputs.mask, params) + inputs.base


def expected(name: str, x: np.ndarray, params: np.ndarray) -> np.ndarray:
    """The same from scipy."""
    line = lambda mean: 40.0 + 0.25 * mean  # noqa: E731 (model units to data units)
    match name:
        case "gaussian":
            return stats.norm(line(params[0]), 0.25 * math.exp(-0.5)).logpdf(x)
        case "grid":
            return stats.norm(line(params[0]), 0.25 * math.exp(-0.6)).logpdf(x) + math.log(0.1)
        case "conditional":
            return stats.norm(line(params[0]), 0.25 * math.sqrt(0.05**2 + math.exp(params[1]))).logpdf(x)
        case "student_t":
            return stats.t(4.0, line(params[0]), 0.25 * math.exp(-0.7)).logpdf(x)
        case "logistic":
            law = stats.logistic(10.0 + 2.0 * params[0], 2.0 * math.exp(-0.7))
            return np.log(law.cdf(x + 0.5) - law.cdf(x - 0.5))
        case "bernoulli":
            return stats.bernoulli(1.0 / (1.0 + math.exp(-params[0]))).logpmf(x)
        case "count":
            r = math.exp(0.5)
            return stats.nbinom(r, 1.0 / (1.0 + math.exp(params[0]))).logpmf(x)
        case "categorical":
            return np.log(np.exp(params) / np.exp(params).sum())[x.astype(int)]
    transformed = stats.yeojohnson((x - 2.0) / 1.5, lmbda=0.3)
    slope = np.abs(np.gradient(transformed, x)) if len(x) > 10 else np.full_like(x, np.nan)
    return stats.norm(params[0] * 0.8 + 0.1, 0.8 * math.exp(-0.25)).logpdf(transformed) + np.log(slope)


PARAMS = {"conditional": np.array([0.3, -1.0]), "categorical": np.array([0.5, -1.0, 2.0])}


@pytest.mark.parametrize("name", [name for name in ALL if name != "bent"])
def test_a_head_is_the_distribution_it_is_named_for(name):
    """In data units, constants and Jacobians included: scipy's law of the same parameters."""
    rows = rows_of(40, name)
    params = PARAMS.get(name, np.array([0.3]))
    np.testing.assert_allclose(log_prob(name, rows, params), expected(name, rows[:, 0], params), rtol=1e-9, atol=1e-9)


def test_a_bent_column_has_the_density_of_scipy_s_transform():
    """Yeo-Johnson by scipy, its slope by differences: they are independent of ours."""
    grid = np.linspace(-4.0, 12.0, 20001)[:, None]
    got, wanted = log_prob("bent", grid, np.array([0.3])), expected("bent", grid[:, 0], np.array([0.3]))
    np.testing.assert_allclose(got[1:-1], wanted[1:-1], atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "bent", "conditional", "student_t"])
def test_a_density_integrates_to_one(name):
    center = 2.0 if name == "bent" else 40.0
    grid = center + np.concatenate([-np.geomspace(1e4, 1e-7, 40000), np.geomspace(1e-7, 1e4, 40000)])
    density = np.exp(log_prob(name, grid[:, None], PARAMS.get(name, np.array([0.3]))))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize(
    ("name", "support", "tolerance"),
    [
        ("grid", np.round(np.arange(-1000, 1000) * 0.1 + 40.0, 1), 1e-6),
        ("logistic", np.arange(-400.0, 400.0), 1e-9),
        ("bernoulli", np.array([0.0, 1.0]), 1e-12),
        ("count", np.arange(2000.0), 1e-9),
        ("categorical", np.arange(3.0), 1e-12),
    ],
)
def test_probabilities_add_up_to_one(name, support, tolerance):
    total = np.exp(log_prob(name, support[:, None], PARAMS.get(name, np.array([0.3])))).sum()
    assert total == pytest.approx(1.0, abs=tolerance)


def test_a_grid_s_probabilities_add_up_at_the_floor_whatever_the_mean():
    """Half a step of standard deviation is the least we allow: Poisson's formula gives 2 exp(-pi^2 / 2) of error."""
    step = 0.3
    for mean in np.linspace(0.0, step, 7):
        masses = step * stats.norm(mean, 0.5 * step).pdf(np.arange(-50, 51) * step)
        assert masses.sum() == pytest.approx(1.0, abs=0.015)
        assert masses.max() <= 1.0


@pytest.mark.parametrize("name", ALL)
def test_the_slope_is_the_derivative(name):
    features = features_of(name)
    likelihood = TableLikelihood(features.layout)
    inputs = features.encode(rows_of(20, name))
    params = np.random.default_rng(1).normal(size=(20, features.layout.num_params))
    slope = likelihood.slope(inputs.x, inputs.mask, params)
    for p in range(params.shape[1]):
        nudge = 1e-6 * np.eye(params.shape[1])[p]
        up, down = (likelihood.log_prob(inputs.x, inputs.mask, params + sign * nudge) for sign in (1.0, -1.0))
        np.testing.assert_allclose(slope[:, p], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("logistic", "student_t", "bent")])
def test_the_information_is_the_mean_square_of_the_slope(name):
    """Fisher's: at data drawn from the head itself; heads of heavy tails have another curvature."""
    features = features_of(name)
    likelihood = TableLikelihood(features.layout)
    params = PARAMS.get(name, np.array([0.3]))
    rng = np.random.default_rng(2)
    n = 200_000
    match name:
        case "categorical":
            x = rng.choice(3, p=np.exp(params) / np.exp(params).sum(), size=n)
        case "bernoulli":
            x = rng.random(n) < sigmoid(params)
        case "count":
            x = stats.nbinom(math.exp(0.5), 1.0 / (1.0 + math.exp(params[0]))).rvs(n, random_state=rng)
        case "student_t":
            x = stats.t(4.0, 40.0 + 0.25 * params[0], 0.25 * math.exp(-0.7)).rvs(n, random_state=rng)
        case "conditional":
            x = rng.normal(40.0 + 0.25 * params[0], 0.25 * math.sqrt(0.05**2 + math.exp(params[1])), size=n)
        case _:
            x = rng.normal(40.0 + 0.25 * params[0], 0.25 * math.exp(-0.5 if name == "gaussian" else -0.6), size=n)
    inputs = features.encode(x[:, None].astype(np.float64))
    slopes = likelihood.slope(inputs.x, inputs.mask, params)
    np.testing.assert_allclose(
        likelihood.information(inputs.x, inputs.mask, params)[0], np.square(slopes).mean(axis=0), rtol=0.03
    )


@pytest.mark.parametrize("name", ["student_t", "logistic"])
def test_the_curvature_of_heavy_tails_is_the_slope_over_the_residual(name):
    """The touching parabola of majorise-minimise: right in the middle, and next to nothing far out."""
    features = features_of(name)
    likelihood = TableLikelihood(features.layout)
    inputs = features.encode(rows_of(30, name))
    params = np.linspace(-40.0, 40.0, 30)[:, None]
    curvature = likelihood.information(inputs.x, inputs.mask, params)
    slope = likelihood.slope(inputs.x, inputs.mask, params)
    np.testing.assert_allclose(curvature * (inputs.x - params), slope, rtol=1e-6)
    assert np.all(curvature > 0.0)
    assert curvature[0, 0] < 0.1 * curvature.max()


@pytest.mark.parametrize("name", ALL)
def test_a_masked_column_has_no_part(name):
    features = features_of("gaussian", name) if name != "gaussian" else features_of("gaussian", "student_t")
    alone = features_of("gaussian")
    rows = rows_of(10, "gaussian", name if name != "gaussian" else "student_t")
    rows[:, 1] = np.nan
    inputs, only = features.encode(rows), alone.encode(rows[:, :1])
    likelihood = TableLikelihood(features.layout)
    params = np.random.default_rng(0).normal(size=(10, features.layout.num_params))
    block = next(block for block in features.layout.blocks if block.kind == "gaussian")
    own = params[:, block.params][:, : 1 if block.columns[0] == 0 else None]
    wanted = TableLikelihood(alone.layout).log_prob(only.x, only.mask, own[:, :1]) + only.base
    np.testing.assert_allclose(likelihood.log_prob(inputs.x, inputs.mask, params) + inputs.base, wanted, rtol=1e-12)
    gone = [p for b in features.layout.blocks for p in range(b.params.start, b.params.stop) if b is not block]
    assert np.all(likelihood.slope(inputs.x, inputs.mask, params)[:, gone] == 0.0)
    assert np.all(likelihood.information(inputs.x, inputs.mask, params)[:, gone] == 0.0)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 16)])
@pytest.mark.parametrize("names", [*((name,) for name in ALL), ALL])
def test_onnx_torch_and_numpy_agree_on_log_p_of_x_and_z(names, hidden):
    """Three implementations of one formula, some cells missing; float32 against float64."""
    vae = vae_of(*names, hidden=hidden)
    features = features_of(*names, vae=vae)
    member = member_of(vae, features)
    rows = rows_of(16, *names)
    rows[np.random.default_rng(3).random(rows.shape) < 0.2] = np.nan
    inputs = features.encode(rows)
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    loc, log_var = member.network.encode(x, mask)
    scale = np.exp(0.5 * log_var)
    noise = np.random.default_rng(4).normal(size=(32, vae.latent_dim)).astype(np.float32)
    got = member.network.log_joint(x, mask, loc, scale, noise)

    double = type(vae).in_float64(vae)
    tensors = [torch.as_tensor(np.asarray(values, dtype=np.float64)) for values in (x, mask, loc, scale, noise)]
    with torch.no_grad():
        wanted = double.log_joint(*tensors).numpy()
        z = tensors[2][:, None, :] + tensors[3][:, None, :] * tensors[4]
        params = double.decoder(z).numpy()
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-4)
    prior = -0.5 * (np.log(2.0 * np.pi) + z.numpy() ** 2).sum(-1)
    numpy = member.likelihood.log_prob(inputs.x[:, None, :], inputs.mask[:, None, :], params) + prior
    np.testing.assert_allclose(numpy, wanted, rtol=1e-6, atol=1e-6)
    decoded = member.network.decode(z.numpy().reshape(-1, vae.latent_dim)[:64].astype(np.float32))
    np.testing.assert_allclose(decoded, params.reshape(-1, params.shape[-1])[:64], rtol=1e-3, atol=1e-4)


def test_a_row_of_every_kind_has_one_score_whatever_stands_beside_it():
    """Softplus, exp and log run over whole tiles: their bits must not depend on a row's place in one."""
    vae = vae_of(*ALL, latent_dim=3, hidden=(32, 32), wild=1.0)
    one, two = (estimator_of(vae, features_of(*ALL, vae=vae), threads=threads) for threads in (1, 2))
    rows = rows_of(70, *ALL)
    rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
    whole = one.estimate(rows, 1024)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))
    for part in ([13], [5, 6], order[:17], order):
        for estimator in (one, two):
            found = estimator.estimate(rows[part], 1024)
            for values, expected_values in zip(found, whole, strict=True):
                np.testing.assert_array_equal(values, expected_values[part])


def test_samples_have_the_moments_and_the_shares_of_the_model():
    """Each head draws from the law it scores by: z from the prior, its means from the decoder."""
    vae = vae_of(*ALL, wild=1.0)
    features = features_of(*ALL, vae=vae)
    member = member_of(vae, features)
    rows = sample_rows([member], 4000, seed=0)
    assert rows.shape == (4000, len(ALL))
    assert not features.schema.novel_cells(rows).any()
    by_name = dict(zip(ALL, rows.T, strict=True))
    np.testing.assert_allclose(by_name["grid"], np.round(by_name["grid"], 1), atol=1e-9)
    assert set(np.unique(by_name["categorical"])) == {0.0, 1.0, 2.0}
    with torch.no_grad():
        z = torch.randn(20000, 2, generator=torch.Generator().manual_seed(0))
        params = vae.decoder(z).double().numpy()
    blocks = {block.kind: params[:, block.params] for block in features.layout.blocks}
    rate = sigmoid(blocks["bernoulli"]).mean()
    assert by_name["bernoulli"].mean() == pytest.approx(rate, abs=0.03)
    mean = (math.exp(0.5) * np.exp(blocks["count"])).mean()
    assert by_name["count"].mean() == pytest.approx(mean, rel=0.15)
    shares = np.exp(blocks["categorical"]) / np.exp(blocks["categorical"]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.bincount(by_name["categorical"].astype(int)) / 4000, shares.mean(axis=0), atol=0.03)
    assert by_name["logistic"].mean() == pytest.approx(10.0 + 2.0 * blocks["logistic"].mean(), abs=0.15)


def test_special_functions_agree_with_scipy():
    x = np.concatenate([np.geomspace(1e-8, 1e12, 400), [0.5, 1.0, 2.0, 9.999, 10.0]])
    np.testing.assert_allclose(log_gamma(x), gammaln(x), rtol=2e-13, atol=2e-13)
    y = np.linspace(-800, 800, 401)
    np.testing.assert_allclose(softplus(y), np.logaddexp(0.0, y), rtol=1e-15, atol=0)
    np.testing.assert_allclose(sigmoid(y), stats.logistic.cdf(y), rtol=1e-14, atol=1e-300)
