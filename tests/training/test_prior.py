"""The prior in torch and in the graphs, against the density in numpy and against derivatives by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import norm

from anomaly_vae.training.graph import Graph
from anomaly_vae.training.prior import Mixture, Normal
from tests.support.graphs import run_graph

L, C = 3, 5


def prior_of(kind, latent_dim=L):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if kind == "normal":
            return Normal(latent_dim)
        prior = Mixture(latent_dim, C)
        with torch.no_grad():
            prior.loc.normal_(std=2.0)
            prior.raw_log_scale.uniform_(-3.0, 0.5)
            prior.logits.normal_()
        return prior


KINDS = pytest.mark.parametrize("kind", ["normal", "mixture"])
Z = np.random.default_rng(0).normal(size=(40, L)) * 2.5


@KINDS
def test_torch_and_the_manifest_s_record_have_one_density(kind):
    prior = prior_of(kind)
    with torch.no_grad():
        got = prior.double().log_prob(torch.as_tensor(Z))
    np.testing.assert_allclose(got, prior.record().log_prob(Z), rtol=1e-9)


def test_the_limit_of_the_scales_is_part_of_the_density():
    prior = prior_of("mixture").double()
    assert (prior.raw_log_scale < -2.3).any()
    record = prior.record()
    assert record.fits(L)
    assert np.min(record.log_scale) == -2.3


@KINDS
def test_the_graph_gives_the_density_of_samples(kind):
    prior, graph = prior_of(kind), Graph()
    samples = Z.reshape(4, 10, L)
    got = run_graph(graph, prior.add_log_prob(graph, "z"), z=np.swapaxes(samples, 1, 2).astype(np.float32))
    np.testing.assert_allclose(got, prior.record().log_prob(Z).reshape(4, 10), rtol=1e-4, atol=1e-3)


@KINDS
def test_the_graph_gives_gradient_and_curvature(kind):
    prior, graph = prior_of(kind), Graph()
    names = prior.add_derivatives(graph, "z")
    got = [run_graph(graph, name, z=Z.astype(np.float32)) for name in names]
    double = prior.double()
    for row, z in enumerate(torch.as_tensor(Z.astype(np.float32)).double()):
        value = double.log_prob(z)
        gradient = torch.autograd.functional.jacobian(double.log_prob, z)
        curvature = -torch.autograd.functional.hessian(double.log_prob, z)
        for values, wanted in zip(got, (value[None], gradient, curvature), strict=False):
            wanted = wanted.detach().numpy()
            one = values[row] if len(values) == len(Z) else values[0]
            np.testing.assert_allclose(one, wanted, rtol=2e-3, atol=2e-3 * max(1.0, np.abs(wanted).max()))
    for matrix in got[3]:
        assert np.linalg.eigvalsh(matrix).min() > 0.01


def test_far_from_all_components_the_curvature_is_exact_in_float32():
    """The steps to the means are thousands of nats per unit there, and the curvature is below 100."""
    prior, graph = prior_of("mixture"), Graph()
    z = (Z * 1000.0).astype(np.float32)
    got = run_graph(graph, prior.add_derivatives(graph, "z").curvature, z=z)
    double = prior.double()
    for matrix, each in zip(got, torch.as_tensor(z).double(), strict=True):
        wanted = -torch.autograd.functional.hessian(double.log_prob, each)
        np.testing.assert_allclose(matrix, wanted.detach().numpy(), rtol=1e-3, atol=1e-3)


def test_the_kl_of_a_normal_prior_is_exact_and_has_dimensions():
    loc, log_var = torch.tensor([[0.5, -1.0, 0.0]]), torch.tensor([[0.3, -2.0, 0.0]])
    got = prior_of("normal").kl(loc, log_var, torch.zeros(1, L))
    grid = np.linspace(-12.0, 12.0, 4001)
    for d in range(L):
        mean, std = float(loc[0, d]), float(torch.exp(0.5 * log_var[0, d]))
        q = norm.pdf(grid, mean, std)
        exact = trapezoid(q * (norm.logpdf(grid, mean, std) - norm.logpdf(grid)), grid)
        assert float(got[0, d]) == pytest.approx(exact, abs=1e-5)


def test_the_kl_of_a_mixture_is_estimated_without_bias():
    prior = prior_of("mixture", latent_dim=1).double()
    loc, log_var = torch.tensor([[0.7]]).double(), torch.tensor([[-0.5]]).double()
    noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        draws = prior.kl(loc.expand(20_000, 1), log_var.expand(20_000, 1), noise)[:, 0].numpy()
    grid = np.linspace(-12.0, 12.0, 8001)
    std = float(torch.exp(0.5 * log_var))
    q = norm.pdf(grid, 0.7, std)
    exact = trapezoid(q * (norm.logpdf(grid, 0.7, std) - prior.record().log_prob(grid[:, None])), grid)
    assert abs(draws.mean() - exact) < 4.0 * draws.std() / np.sqrt(len(draws))


@KINDS
def test_some_dimensions_have_the_marginal_density(kind):
    """The third dimension is integrated out on a grid."""
    prior = prior_of(kind)
    kept = prior.kept(torch.tensor([0, 1]))
    z, grid = Z[:6, :2], np.linspace(-14.0, 14.0, 4001)
    for row in z:
        plane = np.column_stack([np.tile(row, (len(grid), 1)), grid])
        wanted = np.log(trapezoid(np.exp(prior.record().log_prob(plane)), grid))
        assert kept.record().log_prob(row[None])[0] == pytest.approx(wanted, abs=1e-4)


@KINDS
def test_the_mean_is_that_of_the_draws(kind):
    prior = prior_of(kind)
    draws = prior.record().draw(40_000, L, np.random.default_rng(0))
    error = draws.std(axis=0) / 200.0
    with torch.no_grad():
        assert np.all(np.abs(prior.mean().numpy() - draws.mean(axis=0)) < 4.0 * error)
