"""Sizes and layers of convolutional networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anomaly_vae.training.convolutions import Convolution, FromPlanes, Residual, ToPlanes
from tests.support.models import ALL, vae_of
from tests.support.shapes import inputs_of, shaped_vae

PLANES = [(1, 64), (1, 7), (28, 28), (15, 17), (1, 1), (3, 5), (2, 30)]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("plan", [{}, {"residual": True}, {"channels": (3, 4, 5)}, {"kernel": 8}], ids=str)
def test_every_plane_comes_back_in_its_size(plane, plan):
    vae = shaped_vae(plane, ("learned", "conditional"), **plan)
    x, mask = (torch.as_tensor(values) for values in inputs_of(vae))
    loc, log_var = vae.encoder(x, mask)
    assert loc.shape == log_var.shape == (6, 4)
    params = vae.decode(loc)
    assert params.shape == (6, 3 * plane[0] * plane[1])
    assert bool(torch.isfinite(params).all())


@pytest.mark.parametrize("size", range(1, 70))
def test_a_stage_and_its_transposed_one_have_the_documented_sizes(size):
    kernel, stride, padding = Convolution.of(size, 4)
    there = nn.Conv1d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, size))
    assert there.shape[-1] == size // stride
    back = nn.ConvTranspose1d(1, 1, kernel, stride, padding, size % stride)(there)
    assert back.shape[-1] == size


def test_a_residual_block_starts_as_the_identity():
    torch.manual_seed(0)
    vae = shaped_vae((1, 16), residual=True)
    blocks = [layer for layer in [*vae.encoder.net, *vae.decoder] if isinstance(layer, Residual)]
    assert len(blocks) == 4
    fresh = Residual(nn.Sequential(nn.Conv2d(2, 2, 3, 1, 1)))
    nn.init.zeros_(fresh.body[0].weight)
    nn.init.zeros_(fresh.body[0].bias)
    x = torch.randn(3, 2, 4, 4)
    assert torch.equal(fresh(x), x)


def test_the_start_is_the_marginal_of_each_pixel():
    """Every pixel has a bias of its own: that of a pixel with a share of ones starts at its logit."""
    vae = shaped_vae((4, 4), ("bernoulli",))
    for layer in vae.decoder:
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.zeros_(layer.weight)
    vae.decoder[-1].bias.data.zero_()
    x = (torch.arange(20)[:, None] < torch.arange(2, 18)).float()
    vae.init_from_marginals(x, torch.ones_like(x))
    torch.testing.assert_close(torch.sigmoid(vae.decode(torch.randn(1, 4)))[0], x.mean(dim=0))


def test_columns_with_several_features_have_no_plane():
    blocks = vae_of(*ALL).head.layout.blocks
    for arrangement in (ToPlanes, FromPlanes):
        with pytest.raises(TypeError, match="does not fit the cells of a window or an image"):
            arrangement(blocks, (1, 2))
