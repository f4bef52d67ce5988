"""Models whose log p(x) or posterior is known in closed form, or by integration over a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, t
from sklearn.decomposition import FactorAnalysis

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import ColumnModel, GaussianHead
from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.member import Member
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.prior import Mixture
from anomaly_vae.training.vae import VAE
from tests.support.networks import FunctionNetwork


class Lines:
    """One Standardise for each column of rows (N, D)."""

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


def gaussian_vae(
    transform: Lines, hidden: tuple[int, ...], latent_dim: int, log_var: Sequence[float], components: int = 0
) -> VAE:
    """Return a model with these variances in standardised units."""
    models = [
        ColumnModel(head=GaussianHead(variance="fixed", log_var=float(value)), transform=line)
        for value, line in zip(log_var, transform.columns, strict=True)
    ]
    return VAE(models, hidden, latent_dim, components)


def estimator_of(
    vae: VAE, threads: int = 1, points: int = 64, adaptive: bool = True, extra_starts: int = 0
) -> DensityEstimator:
    """Export a model and return an estimator of it."""
    noise = sobol_normal(16, points, vae.latent_dim + 1, seed=0)
    return DensityEstimator([columns_member(vae)], noise, threads=threads, adaptive=adaptive, extra_starts=extra_starts)


def columns_member(vae: VAE) -> Member:
    """Export a model of continuous columns."""
    num_columns = len(vae.head.columns)
    schema = Schema(columns=tuple(Column(name=f"x{d}", kind="continuous") for d in range(num_columns)))
    network = OnnxNetwork(
        export_graphs(vae), latent_dim=vae.latent_dim, num_features=num_columns, num_params=num_columns
    )
    return Member.of(network, vae.latent_dim, Features(schema, vae.head.column_models()), vae.prior.record())


def set_linear(layer: torch.nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        layer.bias.copy_(torch.as_tensor(bias))


def factor_analysis(latent_dim: int = 3) -> tuple[FactorAnalysis, VAE, Lines, np.ndarray]:
    """Return a FactorAnalysis fit and the linear VAE of the same model, with the exact posterior as its encoder."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 6)) + rng.normal(size=(500, 6)) * rng.uniform(0.3, 1, size=6)
    rows = rows * [1, 10, 100, 1, 0.1, 1]
    transform = Lines(rows.mean(axis=0), rows.std(axis=0))
    y = transform.forward(rows)
    fitted = FactorAnalysis(latent_dim, tol=1e-3).fit(y)
    W, variance = fitted.components_.T, fitted.noise_variance_
    information, rotation = np.linalg.eigh(W.T @ (W / variance[:, None]))
    W = W @ rotation  # a rotation of z does not change the model; this one has a diagonal posterior
    posterior = 1.0 / (1.0 + information)
    gain = posterior[:, None] * (W / variance[:, None]).T

    vae = gaussian_vae(transform, (), latent_dim, np.log(variance))
    set_linear(vae.decoder[0], W, fitted.mean_)
    weight = np.concatenate([gain, np.zeros_like(gain)])
    set_linear(
        vae.encoder.net[0],
        np.concatenate([weight, np.zeros_like(weight)], axis=1),  # the mask is an input of the encoder as well
        np.concatenate([-gain @ fitted.mean_, np.log(posterior)]),
    )
    return fitted, vae, transform, transform.inverse(rng.normal(size=(40, 6)) * 2)


def wrong_encoder() -> tuple[np.ndarray, VAE, np.ndarray]:
    """Return a FactorAnalysis model whose encoder is off by half a posterior deviation and 1.5 times as wide."""
    fitted, vae, transform, _ = factor_analysis(latent_dim=4)
    with torch.no_grad():
        vae.encoder.net[0].bias[4:] += 2 * math.log(1.5)
        vae.encoder.net[0].bias[:4] += 0.5 * torch.exp(0.5 * (vae.encoder.net[0].bias[4:] - 2 * math.log(1.5)))
    rows = transform.inverse(np.random.default_rng(4).normal(size=(200, 6)) * 2)
    return fitted.score_samples(transform.forward(rows)) + transform.log_abs_det, vae, rows


def nonlinear(transform: Lines, seed: int = 0, latent_dim: int = 1, components: int = 0) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = gaussian_vae(transform, (16,), latent_dim, np.linspace(-2, 0.5, len(transform.columns)), components)
        if isinstance(vae.prior, Mixture):
            vae.prior.raw_log_scale.data.uniform_(-1.5, -0.5)
        with torch.no_grad():
            for parameter in vae.decoder.parameters():
                parameter.mul_(3.0)
    return vae


def log_var_of(vae: VAE) -> np.ndarray:
    """Return the log-variances of all columns, which are one block here."""
    (part,) = vae.head.parts
    return part.log_var.detach().double().numpy()


def on_a_grid(vae: VAE, x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Return the log of the integral of p(x|z) p(z) over [-6, 6]^L by the trapezoidal rule, shape (N,).

    In model units and without the heads' base, as the networks compute it.
    """
    side = np.linspace(-6, 6, 20_001 if vae.latent_dim == 1 else 501)
    z = np.stack(np.meshgrid(*[side] * vae.latent_dim, indexing="ij"), axis=-1).reshape(-1, vae.latent_dim)
    log_prior = vae.prior.record().log_prob(z) + vae.latent_dim * math.log(side[1] - side[0])
    double, rows = VAE.in_float64(vae), torch.as_tensor(x)
    present = torch.ones_like(rows) if mask is None else torch.as_tensor(mask)
    with torch.no_grad():
        params = double.decoder(torch.as_tensor(z))
        parts = [double.head.log_prob(row, params, cells).numpy() for row, cells in zip(rows, present, strict=True)]
        base = double.head.base(rows, present).numpy()
    return np.array([logsumexp(part + log_prior) for part in parts]) - base


def folded(latent_dim: int = 1) -> VAE:
    """Return a model with x_1 = |z_1|, nearly, so that p(z|x) has two modes far apart; its encoder knows one of them.

    With two latent dimensions, x_2 = z_2. The encoder says N(2, 0.3^2) for the first and N(0, 1) for the second,
    whatever the row.
    """
    vae = gaussian_vae(Lines((0.0,) * latent_dim, (1.0,) * latent_dim), (4,), latent_dim, [-4.0] * latent_dim)
    # silu(a) + silu(-a) is |a| for large a, and silu(a) - silu(-a) is a.
    first, last = np.zeros((4, latent_dim)), np.zeros((latent_dim, 4))
    for dim in range(latent_dim):
        first[2 * dim : 2 * dim + 2, dim] = 4.0, -4.0
        last[dim, 2 * dim : 2 * dim + 2] = (0.25, 0.25) if dim == 0 else (0.25, -0.25)
    set_linear(vae.decoder[0], first, np.zeros(4))
    set_linear(vae.decoder[2], last, np.zeros(latent_dim))
    set_linear(vae.encoder.net[0], np.zeros((4, 2 * latent_dim)), np.zeros(4))
    moments = np.array([[2.0, 0.0][:latent_dim], [2.0 * math.log(0.3), 0.0][:latent_dim]]).ravel()
    set_linear(vae.encoder.net[2], np.zeros((2 * latent_dim, 4)), moments)
    return vae


def untrained(columns: int, latent_dim: int) -> VAE:
    """Return an untrained model; its encoder is wrong for every row."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transform = Lines((0.0,) * columns, (2.0,) * columns)
        return gaussian_vae(transform, (64, 64), latent_dim, np.zeros(columns))


def student(std_error: np.ndarray) -> np.ndarray:
    """Return half the width of the 99.7 % interval, for 16 scramblings."""
    return t(15).ppf(0.9985) * std_error


def linear_model(latent_dim=3, columns=7, seed=0):
    """Return a model x = W z + b + noise with rows; its posterior is one Gaussian in closed form.

    Returns:
        The network, rows (N, D), the posterior's means (N, L), its covariance (L, L) and log p(x), shape (N,).
    """
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(columns, latent_dim)), rng.normal(size=columns)
    log_var = rng.uniform(-3, 0.5, size=columns)
    x = (rng.normal(size=(20, columns)) * 3).astype(np.float32)
    precision = np.eye(latent_dim) + (W.T / np.exp(log_var)) @ W
    loc = np.linalg.solve(precision, (W.T / np.exp(log_var)) @ (x - b).T).T
    evidence = multivariate_normal(b, W @ W.T + np.diag(np.exp(log_var))).logpdf(x)
    network = FunctionNetwork(lambda z: z @ W.T + b, GaussianLikelihood(log_var))
    return network, x, loc, np.linalg.inv(precision), evidence


class LinearNetwork(FunctionNetwork):
    """x = W z + b + noise of standard deviation ``noise``, with orthogonal columns of W, in numpy.

    The posterior of a complete row is N(mean, diag(std^2)), with one std for all rows. The encoder returns
    N(mean + shift std, (width std)^2).
    """

    def __init__(self, shift: float = 0.0, width: float = 1.0, noise: float = 0.5) -> None:
        rng = np.random.default_rng(0)
        orthonormal, _ = np.linalg.qr(rng.normal(size=(5, 2)))
        self.W, self.b, self.noise = orthonormal * [2.0, 0.5], rng.normal(size=5), noise
        self.precision = 1.0 + np.square([2.0, 0.5]) / noise**2
        self.shift, self.width = shift, width
        super().__init__(lambda z: z @ self.W.T + self.b, GaussianLikelihood([2.0 * math.log(noise)] * 5), self.moments)

    def posterior_mean(self, x: np.ndarray) -> np.ndarray:
        return (x - self.b) @ self.W / self.noise**2 / self.precision

    def log_px(self, x: np.ndarray) -> np.ndarray:
        return multivariate_normal(self.b, self.W @ self.W.T + self.noise**2 * np.eye(5)).logpdf(x)

    def moments(self, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002 (rows are complete)
        loc = self.posterior_mean(x) + self.shift / np.sqrt(self.precision)
        return loc, np.broadcast_to(2.0 * math.log(self.width) - np.log(self.precision), loc.shape)
