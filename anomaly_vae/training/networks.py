"""Multilayer perceptrons for q(z|x) and p(x|z)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from anomaly_vae.heads import CountHead
from anomaly_vae.layout import Layout
from anomaly_vae.transforms import FAR

__all__ = ["INPUT_LIMIT", "LOG_VAR_LIMIT", "Encoder", "mlp"]

# The encoder only proposes, so it may see far values cut, as training does: it then stays sane on anomalies, while
# p(x|z) is always evaluated at the true value.
INPUT_LIMIT = FAR

# Bounds of the proposal's log-variances: standard deviations from 0.0025 to 2.7.
LOG_VAR_LIMIT = (-12.0, 2.0)


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers of the given sizes with SiLU between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(sizes):
        layers += [nn.Linear(width_in, width_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class Encoder(nn.Module):
    """x, mask -> mean and log-variance of q(z|x) = N(loc, diag exp(log_var))."""

    shift: Tensor
    unit: Tensor

    def __init__(self, layout: Layout, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.net = mlp([2 * layout.num_features, *hidden, 2 * latent_dim])
        shift, unit = torch.zeros(layout.num_features), torch.ones(layout.num_features)
        for block in layout.blocks:
            for j, head in enumerate(block.heads):
                if isinstance(head, CountHead):  # their likelihood wants them as they are
                    shift[block.features.start + j], unit[block.features.start + j] = head.center, head.scale
        self.register_buffer("shift", shift)
        self.register_buffer("unit", unit)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F), (N, F) -> (N, L), (N, L)."""
        cut = ((x - self.shift) / self.unit).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        loc, log_var = self.net(torch.cat([cut * mask, mask], dim=-1)).chunk(2, dim=-1)
        return loc, torch.clamp(log_var, *LOG_VAR_LIMIT)
