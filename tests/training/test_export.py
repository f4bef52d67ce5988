"""The exported networks compute what torch computes."""

from __future__ import annotations

import numpy as np
import torch

from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.export import export_graphs
from tests.support.training import inputs, small_vae


def test_onnx_graphs_compute_what_torch_computes():
    """All three graphs, with a mask, and with row counts other than the fixed tile shapes."""
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
        log_joint = network.log_joint(x.numpy(), mask.numpy(), loc.numpy(), scale.numpy(), noise[:3].numpy())
        np.testing.assert_allclose(log_joint, vae.log_joint(x, mask, loc, scale, noise[:3]), rtol=1e-5)
