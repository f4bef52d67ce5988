"""The training loss and its KL schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomaly_vae.training.vae import ElboTerms

__all__ = ["kl_weight", "negative_elbo", "trim"]


def negative_elbo(terms: ElboTerms, weight: float, free_bits: float = 0.0) -> Tensor:
    """Return the mean over rows of ``weight * KL - log p(x|z)``, each summed over its dimensions (no mean), nats.

    With ``free_bits`` (nats), the mean KL of a latent dimension counts as at least that much. So the optimiser gains
    nothing by a lower KL, and the dimension stays in use.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), appendix C.8,
        https://arxiv.org/abs/1606.04934
    """
    if free_bits > 0.0:
        kl = terms.kl_by_dim.mean(dim=0).clamp(min=free_bits).sum()
        return weight * kl - terms.log_likelihood.mean()
    return (weight * terms.kl - terms.log_likelihood).mean()


def trim(terms: ElboTerms, fraction: float) -> ElboTerms:
    """Return the terms without this fraction of the rows, those with the lowest ELBO; at least one row is left."""
    if fraction <= 0.0:
        return terms
    num_rows = len(terms.kl)
    num_left = max(1, num_rows - math.floor(fraction * num_rows))
    best = torch.topk((terms.log_likelihood - terms.kl).detach(), num_left, sorted=False).indices
    return ElboTerms(*(values[best] for values in terms))


def kl_weight(step: int, warmup_steps: int, beta: float) -> float:
    """Return the weight of the KL term: it rises linearly from 0 at step 0 to beta at ``warmup_steps``.

    References:
        Generating Sentences from a Continuous Space (Bowman et al., 2016), https://arxiv.org/abs/1511.06349
    """
    return beta * min(1.0, step / warmup_steps) if warmup_steps > 0 else beta
