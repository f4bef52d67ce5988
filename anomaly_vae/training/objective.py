"""The training loss and its KL schedule."""

from __future__ import annotations

from torch import Tensor

from anomaly_vae.training.vae import ElboTerms

__all__ = ["kl_weight", "negative_elbo"]


def negative_elbo(terms: ElboTerms, weight: float) -> Tensor:
    """Mean over rows of ``weight * KL - log p(x|z)``, each summed, never averaged, over its dimensions."""
    return (weight * terms.kl - terms.log_likelihood).mean()


def kl_weight(step: int, warmup_steps: int, beta: float) -> float:
    """Weight of the KL term: rises linearly from 0 at step 0 to beta at ``warmup_steps``.

    References:
        Generating Sentences from a Continuous Space (Bowman et al., 2016), https://arxiv.org/abs/1511.06349
    """
    return beta * min(1.0, step / warmup_steps) if warmup_steps > 0 else beta
