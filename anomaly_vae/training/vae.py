"""The variational autoencoder: p(z) = N(0, I), q(z|x) and p(x|z) from two networks."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.training.heads import Gaussian
from anomaly_vae.training.networks import Encoder, mlp

__all__ = ["VAE", "ElboTerms"]


class ElboTerms(NamedTuple):
    """The two parts of the ELBO of each row, nats in model units, shape (N,).

    Attributes:
        log_likelihood: log p(x|z) at the sampled z, summed over columns.
        kl: KL(q(z|x) || p(z)), closed form, summed over latent dimensions.
    """

    log_likelihood: Tensor
    kl: Tensor


class VAE(nn.Module):
    """Encoder, decoder and likelihood head, in model (standardised) units."""

    def __init__(self, num_columns: int, hidden: tuple[int, ...], latent_dim: int, *, learned_variance: bool) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = Encoder(num_columns, hidden, latent_dim)
        self.decoder = mlp([latent_dim, *reversed(hidden), num_columns])
        self.head = Gaussian(num_columns, learned=learned_variance)

    def elbo_terms(self, x: Tensor, mask: Tensor, noise: Tensor) -> ElboTerms:
        r"""ELBO terms at z = loc + scale * noise (reparametrised, so gradients reach the encoder).

        .. math:: \mathrm{KL} = \tfrac12 \sum_l [\mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2]

        Args:
            x, mask: Shape (N, D).
            noise: Standard normal, shape (N, L).

        References:
            Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
        """
        loc, log_var = self.encoder(x, mask)
        z = loc + torch.exp(0.5 * log_var) * noise
        kl = 0.5 * (loc**2 + torch.expm1(log_var) - log_var).sum(dim=-1)
        return ElboTerms(self.head.log_prob(x, self.decoder(z), mask), kl)

    def log_joint(self, x: Tensor, mask: Tensor, loc: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
        """log p(x, z) at z = loc + scale * noise; x, mask (N, D), loc, scale (N, L), noise (S, L) -> (N, S)."""
        z = loc[:, None, :] + scale[:, None, :] * noise
        log_prior = -0.5 * (math.log(2.0 * math.pi) + z**2).sum(dim=-1)
        return log_prior + self.head.log_prob(x[:, None, :], self.decoder(z), mask[:, None, :])

    @classmethod
    def in_float64(cls, vae: VAE) -> VAE:
        """A copy in float64, for checks."""
        return copy.deepcopy(vae).double()
