"""The whole chain (torch weights, ONNX graph, onnxruntime, tiles, log-weights) against exact answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm, t
from sklearn.decomposition import FactorAnalysis

from anomaly_vae.errors import ConfigError
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.features import Features
from anomaly_vae.heads import ColumnModel, GaussianHead
from anomaly_vae.manifest import graph_names
from anomaly_vae.member import Member, open_members
from anomaly_vae.runtime import OnnxNetwork
from anomaly_vae.schema import Column, Schema
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.vae import VAE
from anomaly_vae.transforms import Standardise
from tests.conftest import make_rows


class Lines:
    """One Standardise for each column of rows (N, D), as the transform of a whole table."""

    def __init__(self, center: Sequence[float], scale: Sequence[float]) -> None:
        self.center, self.scale = np.array(center, dtype=float), np.array(scale, dtype=float)
        pairs = zip(self.center.tolist(), self.scale.tolist(), strict=True)
        self.columns = [Standardise(center=center, scale=scale) for center, scale in pairs]

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.column_stack([line.forward(x[:, d]) for d, line in enumerate(self.columns)])

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return np.column_stack([line.inverse(y[:, d]) for d, line in enumerate(self.columns)])

    @property
    def log_abs_det(self) -> float:
        return float(sum(line.log_slope(np.zeros(1))[0] for line in self.columns))


def gaussian_vae(transform: Lines, hidden: tuple[int, ...], latent_dim: int, log_var: Sequence[float]) -> VAE:
    """A model with exactly these variances in standardised units."""
    models = [
        ColumnModel(head=GaussianHead(variance="fixed", log_var=float(value)), transform=line)
        for value, line in zip(log_var, transform.columns, strict=True)
    ]
    return VAE(models, hidden, latent_dim)


def estimator_of(vae: VAE, threads: int = 1, points: int = 64, adaptive: bool = True) -> DensityEstimator:
    """Export a model and score with it."""
    num_columns = len(vae.head.columns)
    schema = Schema(columns=tuple(Column(name=f"x{d}", kind="continuous") for d in range(num_columns)))
    network = OnnxNetwork(
        export_graphs(vae), latent_dim=vae.latent_dim, num_features=num_columns, num_params=num_columns
    )
    member = Member.of(network, vae.latent_dim, Features(schema, vae.head.column_models()))
    noise = sobol_normal(16, points, vae.latent_dim, seed=0)
    return DensityEstimator([member], noise, threads=threads, adaptive=adaptive)


def set_linear(layer: torch.nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        layer.bias.copy_(torch.as_tensor(bias))


def factor_analysis(latent_dim: int = 3) -> tuple[FactorAnalysis, VAE, Lines, np.ndarray]:
    """A FactorAnalysis fit, and the linear VAE that is the same model with its exact posterior as encoder."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 6)) + rng.normal(size=(500, 6)) * rng.uniform(0.3, 1, size=6)
    rows = rows * [1, 10, 100, 1, 0.1, 1]
    transform = Lines(rows.mean(axis=0), rows.std(axis=0))
    y = transform.forward(rows)
    fitted = FactorAnalysis(latent_dim, tol=1e-3).fit(y)
    W, variance = fitted.components_.T, fitted.noise_variance_
    information, rotation = np.linalg.eigh(W.T @ (W / variance[:, None]))
    W = W @ rotation  # any rotation of z is the same model; this one has a diagonal posterior
    posterior = 1.0 / (1.0 + information)
    gain = posterior[:, None] * (W / variance[:, None]).T

    vae = gaussian_vae(transform, (), latent_dim, np.log(variance))
    set_linear(vae.decoder[0], W, fitted.mean_)
    weight = np.concatenate([gain, np.zeros_like(gain)])
    set_linear(
        vae.encoder.net[0],
        np.concatenate([weight, np.zeros_like(weight)], axis=1),  # the encoder sees the mask as well
        np.concatenate([-gain @ fitted.mean_, np.log(posterior)]),
    )
    return fitted, vae, transform, transform.inverse(rng.normal(size=(40, 6)) * 2)


def test_linear_gaussian_vae_is_factor_analysis():
    """With a linear decoder and the exact posterior, log p(x) is FactorAnalysis's, in data units, at any budget."""
    fitted, vae, transform, rows = factor_analysis()
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    for budget in (16, 64, 1024):
        got = estimator_of(vae).estimate(rows, budget)
        np.testing.assert_allclose(got.log_px, exact, atol=1e-3)
        np.testing.assert_allclose(got.elbo, exact, atol=1e-3)
        assert np.all(got.ess_ratio > 0.999)
        assert np.all(got.std_error < 1e-3)


def test_a_worse_encoder_gives_the_same_marginal_and_a_lower_elbo():
    """p(x) does not depend on q(z|x); a narrow proposal must not pass for an exact one."""
    fitted, vae, transform, rows = factor_analysis()
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    with torch.no_grad():
        vae.encoder.net[0].bias[3:] += 0.7  # log-variances
        vae.encoder.net[0].bias[:3] += 0.1
    got = estimator_of(vae, points=256).estimate(rows, 4096)
    assert np.abs(got.log_px - exact).max() < 0.02
    assert np.mean(np.abs(got.log_px - exact) < 3 * got.std_error + 1e-3) > 0.9
    assert np.all(got.elbo < exact - 0.01)


def nonlinear(transform: Lines, seed: int = 0, latent_dim: int = 1) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = gaussian_vae(transform, (16,), latent_dim, np.linspace(-2, 0.5, len(transform.columns)))
        with torch.no_grad():
            for parameter in vae.decoder.parameters():
                parameter.mul_(3.0)
    return vae


def log_var_of(vae: VAE) -> np.ndarray:
    """Of all columns, which are one block here."""
    (part,) = vae.head.parts
    return part.log_var.detach().double().numpy()


def test_a_nonlinear_decoder_agrees_with_quadrature():
    """In one latent dimension the integral over z can be done to 1e-10 by an independent routine."""
    transform = Lines(center=(1.0, -5.0, 0.0), scale=(2.0, 0.1, 30.0))
    vae = nonlinear(transform)
    rows = np.random.default_rng(1).normal(size=(12, 3)) * transform.scale + transform.center
    double = VAE.in_float64(vae)
    variance = np.exp(log_var_of(double))

    def joint(z: float, y: np.ndarray) -> float:
        with torch.no_grad():
            loc = double.decoder(torch.tensor([z], dtype=torch.float64)).numpy()
        return float(np.exp(norm(loc, np.sqrt(variance)).logpdf(y).sum()) * norm.pdf(z))

    y = transform.forward(rows)
    exact = [math.log(quad(joint, -9, 9, args=(row,), epsabs=0, epsrel=1e-9, limit=500)[0]) for row in y]
    got = estimator_of(vae, points=256).estimate(rows, 4096)
    within = np.abs(got.log_px - np.array(exact) - transform.log_abs_det) < 3 * got.std_error + 1e-3
    assert within.mean() > 0.9
    assert np.abs(got.log_px - np.array(exact) - transform.log_abs_det).max() < 0.05


def test_the_density_integrates_to_one_in_data_units():
    """Every constant and the Jacobian of the transform are there."""
    transform = Lines(center=(40.0,), scale=(0.25,))
    estimator = estimator_of(nonlinear(transform), points=256)
    grid = np.linspace(40 - 4, 40 + 4, 1501)
    density = np.exp(estimator.estimate(grid[:, None], 4096).log_px)
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=2e-3)


def test_the_prior_estimator_agrees(trained):
    """1/N sum p(x|z), z ~ p(z), knows nothing of the encoder, the proposal's density or the weights."""
    from anomaly_vae.scorer import Scorer

    scorer = Scorer(trained.bundle)
    rows = scorer.sample(20, seed=5)
    got = scorer.score(rows)
    (member,) = scorer._estimator.members
    manifest = trained.bundle.manifest
    (record,) = manifest.members
    z = np.random.default_rng(0).standard_normal((200_000, record.architecture.latent_dim)).astype(np.float32)
    loc = member.network.decode(z).astype(np.float64)
    lines = [column.transform for column in record.columns]
    transform = Lines([line.center for line in lines], [line.scale for line in lines])
    y = transform.forward(rows[:, manifest.schema.modelled])
    scale = np.exp(0.5 * np.array([column.head.log_var for column in record.columns]))
    for i in range(len(rows)):
        log_px = logsumexp(norm(loc, scale).logpdf(y[i]).sum(-1)) - math.log(len(z)) + transform.log_abs_det
        assert log_px == pytest.approx(got.log_px[i], abs=0.15)


def test_only_nested_power_of_two_budgets_are_accepted():
    _, vae, _, rows = factor_analysis()
    estimator = estimator_of(vae)
    assert estimator.budgets == (16, 32, 64, 128, 256, 512, 1024)
    with pytest.raises(ConfigError, match=r"num_samples must be one of 16, 32.*got 1000"):
        estimator.estimate(rows, 1000)
    with pytest.raises(ConfigError, match="threads"):
        estimator_of(vae, threads=0)


def test_no_rows_give_no_scores():
    _, vae, _, _ = factor_analysis()
    assert len(estimator_of(vae).estimate(np.empty((0, 6)), 64).log_px) == 0


def test_values_far_beyond_float32_still_have_finite_scores():
    """A square of 1e30 overflows float32; the score must still rank the row last, not be NaN."""
    _, vae, _, rows = factor_analysis()
    far = np.concatenate([rows[:3], rows[:1] * 1e12, rows[:1] * 1e300, np.full((1, 6), -1.7e308)])
    got = estimator_of(vae).estimate(far, 64)
    assert np.isfinite(got.log_px).all()
    assert got.log_px[:3].min() > got.log_px[3:].max()


def untrained(columns: int, latent_dim: int) -> VAE:
    """A model that knows nothing: its encoder misleads everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transform = Lines((0.0,) * columns, (2.0,) * columns)
        return gaussian_vae(transform, (64, 64), latent_dim, np.zeros(columns))


SHAPES = [(1, 1, 16), (3, 2, 64), (30, 15, 1024), (70, 5, 1024), (8, 7, 4096)]


@pytest.mark.parametrize(("columns", "latent_dim", "budget"), SHAPES)
def test_a_row_has_one_score_whatever_stands_beside_it(columns, latent_dim, budget):
    """Bit for bit: alone, in every position of a tile, permuted, in any partition, strided, with 1 and 2 threads."""
    one, two = (estimator_of(untrained(columns, latent_dim), threads=threads, points=256) for threads in (1, 2))
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(35, columns)) * 3
    together = one.estimate(rows, budget)

    def same(got, chosen):
        for field in together._fields:
            np.testing.assert_array_equal(getattr(got, field), getattr(together, field)[chosen], err_msg=field)

    same(two.estimate(rows, budget), slice(None))
    order = rng.permutation(35)
    same(two.estimate(rows[order], budget), order)
    for i in range(20):
        same(one.estimate(rows[i : i + 1], budget), slice(i, i + 1))
    for start in range(0, 35, 9):
        same(one.estimate(rows[start : start + 9], budget), slice(start, start + 9))
    same(one.estimate(np.asfortranarray(rows), budget), slice(None))
    same(one.estimate(np.repeat(rows, 3, axis=0)[::3], budget), slice(None))
    rotated = np.roll(rows, 7, axis=0)
    same(one.estimate(rotated, budget), np.roll(np.arange(35), 7))


def test_graphs_hold_standard_operators_only_and_no_randomness(bundle):
    """A RandomNormalLike in an exported encoder made scores irreproducible elsewhere."""
    import onnx

    for name in graph_names(1):
        model = onnx.load_from_string(bundle.files[name])
        assert {node.domain for node in model.graph.node} == {""}
        assert not [node.op_type for node in model.graph.node if "Random" in node.op_type or node.op_type == "Dropout"]
        assert not model.metadata_props


def wrong_encoder() -> tuple[np.ndarray, VAE, np.ndarray]:
    """FactorAnalysis in four latent dimensions, its encoder half a posterior deviation off and half as wide again."""
    fitted, vae, transform, _ = factor_analysis(latent_dim=4)
    with torch.no_grad():
        vae.encoder.net[0].bias[4:] += 2 * math.log(1.5)
        vae.encoder.net[0].bias[:4] += 0.5 * torch.exp(0.5 * (vae.encoder.net[0].bias[4:] - 2 * math.log(1.5)))
    rows = transform.inverse(np.random.default_rng(4).normal(size=(200, 6)) * 2)
    return fitted.score_samples(transform.forward(rows)) + transform.log_abs_det, vae, rows


def test_a_wrong_encoder_costs_little_at_the_default_budget():
    """The proposal is fitted to the row; its error bars hold the truth."""
    exact, vae, rows = wrong_encoder()
    got = estimator_of(vae).estimate(rows, 1024)
    error = np.abs(got.log_px - exact)
    assert np.median(error) < 0.02
    assert np.mean(error <= student(got.std_error)) >= 0.97
    assert got.reliable.mean() > 0.97
    assert np.all(got.num_samples < 1024)


def test_the_exact_encoder_is_kept_and_exact_on_every_row():
    fitted, vae, transform, rows = factor_analysis()
    rows = np.concatenate([rows, transform.inverse(transform.forward(rows) * 2)])
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    got = estimator_of(vae).estimate(rows, 1024)
    assert np.all(np.abs(got.log_px - exact) <= np.maximum(1e-3, 1e-6 * np.abs(exact)))
    assert np.all(got.num_samples == 1024)
    assert np.all(got.pareto_k == 0.0)
    assert got.reliable.all()


def student(std_error: np.ndarray) -> np.ndarray:
    """Half of the 99.7 % interval of 16 scramblings."""
    return t(15).ppf(0.9985) * std_error


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_non_linear_decoders_agree_with_quadrature(latent_dim):
    """Over several decoders and many rows, against the integral over z on fine grids."""
    errors, inside = [], []
    for seed in range(4):
        transform = Lines(center=(1.0, -5.0, 0.0, 2.0), scale=(2.0, 0.1, 30.0, 1.0))
        vae = nonlinear(transform, seed, latent_dim)
        rows = np.random.default_rng(seed).normal(size=(30, 4)) * 1.5 * transform.scale + transform.center
        exact = on_a_grid(vae, transform.forward(rows)) + transform.log_abs_det
        got = estimator_of(vae).estimate(rows, 1024)
        errors.append(np.abs(got.log_px - exact))
        inside.append(errors[-1] <= student(got.std_error))
    assert np.median(errors) <= 0.01
    assert np.mean(inside) >= 0.97


def on_a_grid(vae: VAE, y: np.ndarray) -> np.ndarray:
    """log of the integral of p(y|z) p(z) over [-6, 6]^L by the trapezoidal rule, which is exact for smooth peaks."""
    side = np.linspace(-6, 6, 20_001 if vae.latent_dim == 1 else 501)
    z = np.stack(np.meshgrid(*[side] * vae.latent_dim, indexing="ij"), axis=-1).reshape(-1, vae.latent_dim)
    double = VAE.in_float64(vae)
    with torch.no_grad():
        loc = double.decoder(torch.as_tensor(z)).numpy()
    log_var = log_var_of(double)
    log_prior = -0.5 * (math.log(2 * math.pi) + z**2).sum(-1) + vae.latent_dim * math.log(side[1] - side[0])
    squares = [((row - loc) ** 2 / np.exp(log_var)).sum(-1) for row in y]
    constant = -0.5 * (math.log(2 * math.pi) + log_var).sum()
    return np.array([logsumexp(log_prior - 0.5 * square) for square in squares]) + constant


def test_asked_for_an_error_a_row_spends_no_more_than_it_needs():
    exact, vae, rows = wrong_encoder()
    estimator = estimator_of(vae, points=256)
    coarse, fine = (estimator.estimate(rows, 4096, max_std_error=error) for error in (0.1, 0.01))
    full = estimator.estimate(rows, 4096)
    assert np.all(coarse.std_error <= 0.1)
    assert np.all((fine.std_error <= 0.01) | (fine.num_samples == full.num_samples))
    assert coarse.num_samples.mean() < fine.num_samples.mean() < full.num_samples.mean()
    assert np.all(coarse.num_samples <= fine.num_samples)
    assert np.mean(np.abs(coarse.log_px - exact) <= student(coarse.std_error)) >= 0.97


def test_an_error_that_cannot_be_met_ends_with_the_budget():
    """The last round is that of the budget: nothing more is spent, and the estimate has all samples behind it."""
    _, vae, rows = wrong_encoder()
    estimator = estimator_of(vae)
    got, full = estimator.estimate(rows[:9], 1024, max_std_error=1e-12), estimator.estimate(rows[:9], 1024)
    np.testing.assert_array_equal(got.num_samples, full.num_samples)
    assert np.abs(got.log_px - full.log_px).max() < 0.1


@pytest.mark.parametrize("error", [None, 0.05])
@pytest.mark.parametrize("latent_dim", [2, 9, 16])
def test_rows_with_fitted_proposals_have_one_score_whatever_stands_beside_them(error, latent_dim):
    """Every mixture of them gives the same bits, with 1 and 2 threads."""
    one, two = (estimator_of(untrained(20, latent_dim), threads=threads) for threads in (1, 2))
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(150, 20)) * rng.choice([0.1, 3.0, 30.0], size=(150, 1))
    together = one.estimate(rows, 1024, error)

    def same(got, chosen):
        for field in together._fields:
            np.testing.assert_array_equal(getattr(got, field), getattr(together, field)[chosen], err_msg=field)

    same(two.estimate(rows, 1024, error), slice(None))
    order = rng.permutation(150)
    same(two.estimate(rows[order], 1024, error), order)
    for i in range(0, 150, 11):
        same(one.estimate(rows[i : i + 1], 1024, error), slice(i, i + 1))
    for start in range(0, 150, 7):
        same(one.estimate(rows[start : start + 7], 1024, error), slice(start, start + 7))
    same(two.estimate(np.asfortranarray(rows)[::-1], 1024, error), slice(None, None, -1))


def test_rows_that_keep_the_encoder_and_rows_that_do_not_have_one_score_side_by_side():
    """Rows far out, where the encoder sees them cut, are fitted; the others have its exact posterior."""
    _, vae, transform, rows = factor_analysis()
    rows = np.random.default_rng(0).permutation(np.concatenate([rows, transform.inverse(transform.forward(rows) * 30)]))
    estimator = estimator_of(vae, threads=2)
    together = estimator.estimate(rows, 1024)
    assert 20 < np.sum(together.num_samples == 1024) < 60
    for step in (1, 7, 33):
        parts = [estimator.estimate(rows[i : i + step], 1024) for i in range(0, len(rows), step)]
        for got, expected in zip(zip(*parts, strict=True), together, strict=True):
            np.testing.assert_array_equal(np.concatenate(got), expected)


class Nudged:
    """Networks of a machine that rounds differently in the last digit of float32."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.rng = network, np.random.default_rng(0)

    def __getattr__(self, name):
        def call(*inputs):
            outputs = getattr(self.network, name)(*inputs)
            return tuple(map(self.nudge, outputs)) if isinstance(outputs, tuple) else self.nudge(outputs)

        return call

    def nudge(self, values):
        return (values * (1.0 + 1.2e-7 * self.rng.choice([-1, 1], size=values.shape))).astype(np.float32)


def test_a_machine_that_rounds_differently_gives_nearly_the_same_scores(trained):
    """The factor of a proposal's covariance is a continuous one: with eigenvectors, whose signs are not, it was not."""
    manifest, bundle = trained.bundle.manifest, trained.bundle
    (member,) = open_members(manifest.schema, manifest.members, bundle.files)
    nudged = member._replace(network=Nudged(member.network))
    here, there = (DensityEstimator([one], bundle.noise, threads=1) for one in (member, nudged))
    rows = make_rows(100, seed=3)
    np.testing.assert_allclose(there.plain_log_px(rows, 1024), here.plain_log_px(rows, 1024), atol=1e-4)
    one, other = here.estimate(rows, 1024), there.estimate(rows, 1024)
    difference = np.abs(one.log_px - other.log_px)
    assert np.median(difference) < 1e-3
    assert np.mean(difference <= 4 * np.hypot(one.std_error, other.std_error)) > 0.97
