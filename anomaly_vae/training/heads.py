"""Likelihood heads: p(x|z) of columns given what the decoder says."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["STD_FLOOR", "Gaussian"]

# Smallest standard deviation of a column given z, in standard deviations of the column: without a floor the density
# of a column that the decoder predicts exactly runs to infinity.
STD_FLOOR = 0.05


class Gaussian(nn.Module):
    """N(loc(z), exp(log_var)), one variance per column: learned, or that of the column itself (1, standardised)."""

    def __init__(self, num_columns: int, *, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        if learned:
            self.raw_log_var = nn.Parameter(torch.zeros(num_columns))
        else:
            self.register_buffer("raw_log_var", torch.zeros(num_columns))

    @property
    def log_var(self) -> Tensor:
        """Log-variances, shape (D,)."""
        if not self.learned:
            return self.raw_log_var
        return torch.log(STD_FLOOR**2 + torch.exp(self.raw_log_var))

    def log_prob(self, x: Tensor, loc: Tensor, mask: Tensor) -> Tensor:
        """log p(x|z) summed over the columns the mask keeps, (..., D) -> (...,)."""
        log_var = self.log_var
        terms = math.log(2.0 * math.pi) + log_var + (x - loc) ** 2 * torch.exp(-log_var)
        return -0.5 * (terms * mask).sum(dim=-1)
