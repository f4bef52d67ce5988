"""The exported networks compute what torch computes."""

from __future__ import annotations

import math

import numpy as np
import torch

from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.export import export_graphs
from tests.support.training import inputs, small_vae


def test_onnx_graphs_compute_what_torch_computes():
    """All graphs, with a mask, and with row counts other than the fixed tile shapes."""
    vae = small_vae().float()
    network = OnnxNetwork(export_graphs(vae), latent_dim=2, num_features=4, num_params=4)
    x, mask, noise = (t.float() for t in inputs(vae, rows=5))
    mask[:, 1] = 0.0
    with torch.no_grad():
        loc, log_var = vae.encoder(x * 10, mask)
        scale = torch.exp(0.5 * log_var)
        got = network.encode((x * 10).numpy(), mask.numpy())
        np.testing.assert_allclose(got[0], loc, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], log_var, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(network.decode(noise.numpy()), vae.decoder(noise), rtol=1e-4, atol=1e-5)
        shared, own = noise[None, :3], torch.stack([noise[:3], noise[1:4], noise[2:5], noise[:3], -noise[:3]])
        for given in (shared, own):
            z = loc[:, None] + scale[:, None] * given
            log_joint = network.log_joint(*(each.numpy() for each in (x, mask, z)))
            expected = vae.head.log_prob(x[:, None], vae.decoder(z), mask[:, None]) - standard_normal(z)
            np.testing.assert_allclose(log_joint, expected, rtol=1e-5)
        likelihood = network.likelihood(x.numpy(), mask.numpy(), vae.decoder(noise[:3]).numpy())
        expected = vae.head.log_prob(x[:, None], vae.decoder(noise[None, :3]), mask[:, None])
        np.testing.assert_allclose(likelihood, expected, rtol=1e-5)
        log_joint = network.posterior(x.numpy(), mask.numpy(), loc.numpy()).log_joint[:, 0]
        expected = vae.head.log_prob(x, vae.decoder(loc), mask) - standard_normal(loc)
        np.testing.assert_allclose(log_joint, expected, rtol=1e-5)


def standard_normal(z):
    """Return minus the log-density under N(0, I)."""
    return 0.5 * (z**2 + math.log(2.0 * math.pi)).sum(-1)
