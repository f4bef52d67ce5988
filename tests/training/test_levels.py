"""Levels of channels as dimensions of z."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly_vae.density.prior import MAX_LOG_SCALE
from anomaly_vae.training.levels import LEVEL_SCALE, channels_with_level
from anomaly_vae.training.prior import Mixture
from tests.support.shapes import inputs_of, shaped_vae


@pytest.fixture(scope="module")
def vae():
    return shaped_vae((1, 12), ("learned", "bernoulli", "student_t"), latent_dim=5, components=3, levels=True)


def test_channels_of_real_numbers_have_levels(vae):
    blocks = vae.head.layout.blocks
    assert channels_with_level(blocks, 12) == vae.num_levels == 2
    assert shaped_vae((1, 12), ("bernoulli",)).num_levels == 0


def test_a_level_shifts_all_steps_of_its_channel_and_nothing_else(vae):
    z = torch.zeros(1, 5)
    moved = z.clone()
    moved[0, 1] = 0.7
    difference = (vae.decode(moved) - vae.decode(z))[0]
    expected = torch.zeros_like(difference)
    block = next(block for block in vae.head.layout.blocks if block.kind == "student_t")
    expected[block.params] = 0.7 * LEVEL_SCALE
    torch.testing.assert_close(difference, expected)


def test_the_encoder_sees_a_window_without_its_level(vae):
    """Shifted by 3, a window has the same q(z|x), but for its level, which is shifted by 3."""
    x, mask = (torch.as_tensor(values) for values in inputs_of(vae))
    block = next(block for block in vae.head.layout.blocks if block.kind == "gaussian")
    shifted = x.clone()
    shifted[:, block.features] += 3.0 * mask[:, block.features]
    (loc, log_var), (other, other_var) = vae.encoder(x, mask), vae.encoder(shifted, mask)
    torch.testing.assert_close(other[:, 1:], loc[:, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other[:, 0] - loc[:, 0], torch.full((6,), 3.0 / LEVEL_SCALE), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other_var, log_var, atol=1e-4, rtol=1e-4)


def test_the_mean_leaves_out_missing_cells(vae):
    x, mask = (torch.as_tensor(values) for values in inputs_of(vae))
    means = vae.levels.mean(x, mask).numpy()
    block = next(block for block in vae.head.layout.blocks if block.kind == "gaussian")
    cells, present = x[:, block.features].numpy(), mask[:, block.features].numpy() > 0
    np.testing.assert_allclose(
        means[:, 0], [row[seen].mean() for row, seen in zip(cells, present, strict=True)], atol=1e-5
    )
    nothing = vae.levels.mean(x, torch.zeros_like(mask))
    assert torch.equal(nothing, torch.zeros(6, 2))


def test_the_prior_of_levels_is_not_learned_and_has_a_wide_component():
    """The shares are learned, so a level far from those of training costs some nats, and not its square."""
    fresh = shaped_vae((1, 12), ("learned",), components=3, levels=True)
    x, mask = (torch.as_tensor(values) for values in inputs_of(fresh))
    terms = fresh.elbo_terms(x, mask, torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    (terms.kl.sum() - terms.log_likelihood.sum()).backward()
    for parameter in (fresh.prior.loc, fresh.prior.raw_log_scale):
        assert torch.equal(parameter.grad[:, 0], torch.zeros(3))
        assert parameter.grad[:, 1:].abs().min() > 0.0
    prior = Mixture(4, 3, 1)
    assert prior.loc[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert prior.log_scale[:, 0].tolist() == [MAX_LOG_SCALE, 0.0, 0.0]
    prior.loc.data.zero_()
    far = torch.zeros(2, 4)
    far[1, 0] = 20.0
    near, away = prior.log_prob(far)
    assert 0.0 < float((near - away).detach()) < 8.0
