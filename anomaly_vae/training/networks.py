"""Multilayer perceptrons: the encoder q(z|x), and the layers of the decoder p(x|z)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from anomaly_vae.columns.layout import Layout
from anomaly_vae.columns.transforms import FAR

__all__ = ["INPUT_LIMIT", "LOG_VAR_LIMIT", "Encoder", "mlp"]

# Limit of the encoder's inputs, in standard deviations, the same as in training. The encoder only gives a proposal
# distribution, so clipping is safe and keeps it stable on outliers. p(x|z) is always evaluated at the true value.
INPUT_LIMIT = FAR

# Bounds of the encoder's log-variances: standard deviations from 0.0025 to 2.7, where the prior has 1. Chosen, not
# measured: wider bounds risk overflow, narrower ones a poor proposal.
LOG_VAR_LIMIT = (-12.0, 2.0)


def mlp(sizes: list[int]) -> nn.Sequential:
    """Return linear layers of the given sizes with SiLU between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(sizes):
        layers += [nn.Linear(width_in, width_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class Encoder(nn.Module):
    """Map x and mask to the mean and log-variance of q(z|x) = N(loc, diag exp(log_var)).

    Attributes:
        shift, unit: Standardise the inputs of count columns, shape (F,); 0 and 1 for other columns.
    """

    shift: Tensor
    unit: Tensor

    def __init__(self, layout: Layout, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.net = mlp([2 * layout.num_features, *hidden, 2 * latent_dim])
        shift, unit = torch.zeros(layout.num_features), torch.ones(layout.num_features)
        for block in layout.blocks:
            for j, head in enumerate(block.heads):
                first = block.features.start + int(block.starts[j])
                shift[first], unit[first] = head.input_scaling
        self.register_buffer("shift", shift)
        self.register_buffer("unit", unit)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F), (N, F) -> (N, L), (N, L)."""
        clipped = ((x - self.shift) / self.unit).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        loc, log_var = self.net(torch.cat([clipped * mask, mask], dim=-1)).chunk(2, dim=-1)
        return loc, torch.clamp(log_var, *LOG_VAR_LIMIT)
