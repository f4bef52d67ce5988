"""Models of windows and images with random weights, for tests of their graphs."""

from __future__ import annotations

import numpy as np
import torch

from anomaly_vae.columns.heads import BernoulliHead, ColumnModel, ConditionalHead, GaussianHead, StudentTHead
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.training.convolutions import Plan
from anomaly_vae.training.vae import VAE

__all__ = ["HEADS_OF_CELLS", "inputs_of", "shaped_vae"]

HEADS_OF_CELLS = {
    "fixed": GaussianHead(variance="fixed", log_var=0.2),
    "learned": GaussianHead(variance="learned", log_var=-0.3),
    "student_t": StudentTHead(log_scale=-0.2, freedom=5.0),
    "conditional": ConditionalHead(floor=0.1),
    "bernoulli": BernoulliHead(),
}


def shaped_vae(plane, heads=("learned",), *, latent_dim=4, channels=(5, 6), components=0, seed=0, **plan):
    """Return a model with random weights; ``heads`` has the kind of each channel."""
    models = [_model(HEADS_OF_CELLS[kind]) for _ in range(plane[0] * plane[1]) for kind in heads]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = VAE(models, (), latent_dim, components, Plan(plane, channels, **plan))
        for parameter in vae.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return vae.eval()


def inputs_of(vae, n=6, seed=0):
    """Return x and mask in the order of the layout, float32 (n, F), with a tenth of the cells missing."""
    rng, layout = np.random.default_rng(seed), vae.head.layout
    x = rng.normal(size=(n, layout.num_features))
    for block in layout.blocks:
        if block.kind == "bernoulli":
            x[:, block.features] = x[:, block.features] > 0.0
    mask = rng.random(x.shape) < 0.9
    return (x * mask).astype(np.float32), mask.astype(np.float32)


def _model(head):
    return ColumnModel(head=head, transform=Standardise(center=0.0, scale=1.0) if head.takes_transform else None)
