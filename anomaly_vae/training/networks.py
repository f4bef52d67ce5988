"""Multilayer perceptrons for q(z|x) and p(x|z)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

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

    def __init__(self, num_columns: int, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.net = mlp([num_columns, *hidden, 2 * latent_dim])

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D), (N, D) -> (N, L), (N, L)."""
        loc, log_var = self.net(x.clamp(-INPUT_LIMIT, INPUT_LIMIT) * mask).chunk(2, dim=-1)
        return loc, torch.clamp(log_var, *LOG_VAR_LIMIT)
