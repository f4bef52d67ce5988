"""The encoder q(z|x), and the layers of multilayer perceptrons."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from anomaly_vae.columns.layout import Layout
from anomaly_vae.columns.transforms import FAR
from anomaly_vae.training.convolutions import Plan, ToPlanes, conv_encoder
from anomaly_vae.training.levels import LEVEL_SCALE, Levels

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
        net: The layers.
        planes: Arranges features as planes for convolutions; None for a multilayer perceptron.
        levels: The levels of channels, the first dimensions of z; None without.
        shift, unit: Standardise the inputs of count columns, shape (F,); 0 and 1 for other columns.
    """

    shift: Tensor
    unit: Tensor

    def __init__(
        self,
        layout: Layout,
        hidden: tuple[int, ...],
        latent_dim: int,
        plan: Plan | None = None,
        levels: Levels | None = None,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.planes = None if plan is None else ToPlanes(layout.blocks, plan.plane)
        if plan is None or self.planes is None:
            self.net = mlp([2 * layout.num_features, *hidden, 2 * latent_dim])
        else:
            self.net = conv_encoder(plan, sum(self.planes.channels), latent_dim)
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
        means = None
        if self.levels is not None:
            means = self.levels.mean(clipped, mask)
            clipped = clipped - means @ self.levels.pick.T
        inputs = [clipped * mask, mask]
        if self.planes is not None:
            inputs = [self.planes(each) for each in inputs]
        loc, log_var = self.net(torch.cat(inputs, dim=1)).chunk(2, dim=-1)
        if means is not None:
            loc = loc + nn.functional.pad(means / LEVEL_SCALE, (0, loc.shape[-1] - means.shape[-1]))
        return loc, torch.clamp(log_var, *LOG_VAR_LIMIT)
