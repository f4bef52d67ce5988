"""The bounds of the encoder."""

from __future__ import annotations

import torch

from tests.support.training import inputs, small_vae


def test_the_posterior_may_be_narrower_and_wider_than_the_prior():
    """A softplus on the log-variance, as in some other code, keeps posterior variances above 1."""
    vae = small_vae()
    x, mask, _ = inputs(vae)
    for bias, low, high in ((-8.0, 0.0, 1e-3), (1.5, 2.0, 10.0), (-1e6, 1e-6, 1e-5), (1e6, 7.0, 8.0)):
        with torch.no_grad():
            vae.encoder.net[-1].bias[2:] = bias
        variance = torch.exp(vae.encoder(x, mask)[1])
        assert torch.all((variance > low) & (variance < high))
