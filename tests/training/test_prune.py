"""Latent dimensions that a model does not use are removed, and only those."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly_vae.density.estimator import Precision
from anomaly_vae.training.data import Data
from anomaly_vae.training.prior import Mixture
from anomaly_vae.training.prune import prune_latents
from tests.support.exact_models import Lines, estimator_of, factor_analysis, folded, gaussian_vae, student


def with_unused(latent_dim=5, used=(1, 4)):
    """Return a FactorAnalysis model whose latent dimensions have other places, and its rows.

    The other dimensions are at the prior in the encoder, and the decoder does not read them.
    """
    fitted, exact, transform, rows = factor_analysis(latent_dim=len(used))
    vae = gaussian_vae(transform, (), latent_dim, [0.0] * len(transform.columns))
    places = torch.tensor(used)
    with torch.no_grad():
        vae.head.load_state_dict(exact.head.state_dict())
        vae.head.columns = exact.head.columns
        first, last = vae.decoder[0], vae.encoder.net[-1]
        for layer in (first, last):
            layer.weight.zero_()
            layer.bias.zero_()
        first.weight[:, places] = exact.decoder[0].weight
        first.bias.copy_(exact.decoder[0].bias)
        both = torch.cat([places, places + latent_dim])
        last.weight[both] = exact.encoder.net[0].weight
        last.bias[both] = exact.encoder.net[0].bias
    exact_log_px = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    x = torch.as_tensor(transform.forward(rows), dtype=torch.float32)
    return vae, Data(x, torch.ones_like(x)), rows, exact_log_px


@pytest.mark.parametrize("used", [(1, 4), (0,), (2, 3, 4)])
def test_unused_dimensions_are_removed_and_the_used_ones_stay(used):
    """The remaining networks are the same function of the remaining dimensions."""
    vae, data, _, _ = with_unused(used=used)
    got = prune_latents(vae, data, seed=0)
    assert got.latent_dim == len(used)
    places = list(used)
    with torch.no_grad():
        for mine, theirs in zip(got.encoder(*data), vae.encoder(*data), strict=True):
            np.testing.assert_allclose(mine, theirs[:, places], rtol=1e-5, atol=1e-6)
        z = torch.randn(7, len(used), generator=torch.Generator().manual_seed(0))
        whole = torch.zeros(7, 5)
        whole[:, places] = z
        np.testing.assert_allclose(got.decoder(z), vae.decoder(whole), rtol=1e-5, atol=1e-6)


def test_the_density_does_not_change():
    """Exactly: p(x) of both is that of FactorAnalysis."""
    vae, data, rows, exact = with_unused()
    for model in (vae, prune_latents(vae, data, seed=0)):
        got = estimator_of(model, points=256).estimate(rows, Precision(0.03, 4096))
        assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97


def test_a_mixture_prior_loses_the_unused_dimensions_and_the_density_stays():
    """The components differ only where the decoder does not look, and their mean there is not 0."""
    vae, data, rows, exact = with_unused()
    vae.prior = Mixture(5, 2)
    with torch.no_grad():
        vae.prior.loc.zero_()
        vae.prior.loc[0, [0, 2, 3]] = 1.5
        vae.prior.logits.copy_(torch.tensor([1.0, 0.0]))
        vae.decoder[0].weight[:, 0] = 0.01  # hardly used: removed at the mean, which the bias takes over
        vae.decoder[0].bias -= 0.01 * vae.prior.mean()[0]
    narrow = prune_latents(vae, data, seed=0)
    assert narrow.latent_dim == 2
    assert narrow.prior.record().fits(2)
    got = estimator_of(narrow, points=256).estimate(rows, Precision(0.03, 4096))
    assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97


def test_a_model_that_uses_all_dimensions_is_returned_as_it_is():
    vae, data, _, _ = with_unused(latent_dim=3, used=(0, 1, 2))
    assert prune_latents(vae, data, seed=0) is vae


def test_the_given_model_is_not_changed():
    vae, data, _, _ = with_unused()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    assert prune_latents(vae, data, seed=0) is not vae
    assert vae.latent_dim == 5
    for name, value in vae.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_at_least_one_dimension_remains():
    """Here the decoder reads none."""
    vae, data, _, _ = with_unused()
    with torch.no_grad():
        vae.decoder[0].weight.zero_()
    got = prune_latents(vae, data, seed=0)
    assert got.latent_dim == 1
    assert estimator_of(got).encode(np.zeros((2, 6))).shape == (2, 1)


def test_a_dimension_that_the_encoder_fills_but_the_decoder_ignores_goes():
    """Its KL is large, and without it the ELBO rises."""
    vae, data, _, _ = with_unused()
    with torch.no_grad():
        vae.encoder.net[-1].weight[0, :6] = 1.0  # the mean of dimension 0
    got = prune_latents(vae, data, seed=0)
    assert got.latent_dim == 2


def with_weak(information):
    """Return a linear model with its exact posterior as encoder, and rows of it; dimension 1 has this information."""
    _, vae, _, _ = factor_analysis()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        first, last, noise = vae.decoder[0], vae.encoder.net[0], torch.exp(vae.head.parts[0].log_var)
        # The columns of W are orthogonal in units of the noise, so a shorter column leaves the posterior diagonal.
        strength = (first.weight**2 / noise[:, None]).sum(dim=0)
        first.weight[:, 1] *= (information / strength[1]).sqrt()
        strength[1] = information
        last.weight[:3, :6] = first.weight.T / noise / (1.0 + strength)[:, None]
        last.bias[:3] = -last.weight[:3, :6] @ first.bias
        last.bias[3:] = -torch.log1p(strength)
        z = torch.randn(600, 3, generator=generator)
        x = vae.decoder(z) + noise.sqrt() * torch.randn(600, 6, generator=generator)
    return vae, x


@pytest.mark.parametrize(("information", "kept"), [(1.7, 3), (1.0, 3), (0.25, 2), (0.1, 2), (1e-4, 2)])
def test_a_weak_dimension_goes_only_if_it_costs_little(information, kept):
    """A model without it loses (i - log(1 + i)) / 2 nats per row, with i its information: 0.35, 0.15, 0.01, 0.002, 0.

    This is the divergence between two Gaussian models that differ in one direction. The likelihood alone loses
    log(1 + i) / 2 more, which is the KL that goes with the dimension.
    """
    vae, x = with_weak(information)
    assert prune_latents(vae, Data(x, torch.ones_like(x)), seed=0).latent_dim == kept


def test_one_outlier_does_not_decide():
    """A row 200 prior deviations along a weak dimension: without it, it loses 2,000 nats, 3 in the mean of 600 rows."""
    vae, x = with_weak(0.1)
    with torch.no_grad():
        x[0] += 200.0 * vae.decoder[0].weight[:, 1]
    assert prune_latents(vae, Data(x, torch.ones_like(x)), seed=0).latent_dim == 2


def test_missing_cells_have_no_say():
    """A dimension that only a missing column needs is not needed."""
    vae, data, _, _ = with_unused(latent_dim=3, used=(0, 1, 2))
    with torch.no_grad():
        vae.decoder[0].weight[:, 2] = 0.0
        vae.decoder[0].weight[0, 2] = 1.0
        vae.encoder.net[-1].weight[2] = 0.0
        vae.encoder.net[-1].bias[[2, 5]] = 0.0
    mask = torch.ones_like(data.x)
    mask[:, 0] = 0.0
    got = prune_latents(vae, Data(data.x * mask, mask), seed=0)
    assert got.latent_dim < 3


def test_networks_with_hidden_layers_are_pruned_at_both_ends():
    """The decoder reads |z_0| and z_2. It does not read z_1, where the encoder has the prior."""
    narrow = folded(2)
    vae = gaussian_vae(Lines((0.0, 0.0), (1.0, 1.0)), (4,), 3, [-4.0, -4.0])
    kept = [0, 2]
    with torch.no_grad():
        for wide, source in zip(vae.parameters(), narrow.parameters(), strict=True):
            if wide.shape == source.shape:
                wide.copy_(source)
        vae.decoder[0].weight.zero_()
        vae.decoder[0].weight[:, kept] = narrow.decoder[0].weight
        vae.encoder.net[-1].weight.zero_()
        vae.encoder.net[-1].bias.zero_()
        # The encoder knows the rows, which are all near one point.
        vae.encoder.net[-1].bias[:] = torch.tensor([2.0, 0.0, 0.5, -4.0, 0.0, -4.0])
        z = torch.tensor([[2.0, 0.0, 0.5]]) + 0.1 * torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
        x = vae.decoder(z)
        rows = Data(x, torch.ones_like(x))
        got = prune_latents(vae, rows, seed=0)
        assert got.latent_dim == 2
        np.testing.assert_allclose(got.encoder(*rows)[0], vae.encoder(*rows)[0][:, kept], rtol=1e-6)
        np.testing.assert_allclose(got.encoder(*rows)[1], vae.encoder(*rows)[1][:, kept], rtol=1e-6)
        np.testing.assert_allclose(got.decoder(z[:, kept]), vae.decoder(z), rtol=1e-5, atol=1e-6)


def test_one_seed_gives_one_model():
    vae, data, _, _ = with_unused()
    first, second = (prune_latents(vae, data, seed=3) for _ in range(2))
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pruning_leaves_the_caller_s_random_state_alone():
    vae, data, _, _ = with_unused()
    before = torch.get_rng_state()
    assert prune_latents(vae, data, seed=0) is not vae
    assert torch.equal(torch.get_rng_state(), before)
