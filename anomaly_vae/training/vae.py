"""The variational autoencoder: prior p(z) = N(0, I), encoder q(z|x), decoder p(x|z)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.training.networks import Encoder, mlp
from anomaly_vae.training.torch_heads.table import TableHead

__all__ = ["VAE", "ElboTerms"]


class ElboTerms(NamedTuple):
    """The two parts of the ELBO of each row, nats in model units, shape (N,).

    Attributes:
        log_likelihood: log p(x|z) at the sampled z, summed over columns.
        kl: KL(q(z|x) || p(z)), closed form, summed over latent dimensions.
        kl_by_dim: The KL of each latent dimension, shape (N, L).
    """

    log_likelihood: Tensor
    kl: Tensor
    kl_by_dim: Tensor


class VAE(nn.Module):
    """Encoder, decoder and likelihood heads, in model units."""

    def __init__(self, columns: Sequence[ColumnModel], hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.head = TableHead(columns)
        layout = self.head.layout
        self.encoder = Encoder(layout, hidden, latent_dim)
        self.decoder = mlp([latent_dim, *reversed(hidden), layout.num_params])

    @torch.no_grad()
    def init_from_marginals(self, x: Tensor, mask: Tensor) -> None:
        """Set the output biases to the marginals of rows (N, F); zeros are far off for rare categories and counts."""
        last = self.decoder[-1]
        if isinstance(last, nn.Linear):
            last.bias.add_(self.head.start(x, mask))

    def elbo_terms(self, x: Tensor, mask: Tensor, noise: Tensor) -> ElboTerms:
        r"""Return the ELBO terms at z = loc + scale * noise (reparametrised, so gradients reach the encoder).

        .. math:: \mathrm{KL} = \tfrac12 \sum_l [\mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2]

        Args:
            x, mask: Shape (N, F).
            noise: Standard normal, shape (N, L).

        References:
            Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
        """
        loc, log_var = self.encoder(x, mask)
        z = loc + torch.exp(0.5 * log_var) * noise
        kl = 0.5 * (loc**2 + torch.expm1(log_var) - log_var)
        return ElboTerms(self.head.log_prob(x, self.decoder(z), mask), kl.sum(dim=-1), kl)

    def log_joint(self, x: Tensor, mask: Tensor, loc: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
        """Return log p(x, z) without the heads' base at z = loc + scale * noise, nats, shape (N, S).

        Args:
            x, mask: Shape (N, F).
            loc, scale: Shape (N, L).
            noise: Shape (S, L).
        """
        z = loc[:, None, :] + scale[:, None, :] * noise
        log_prior = -0.5 * (math.log(2.0 * math.pi) + z**2).sum(dim=-1)
        x, mask = x[:, None, :], mask[:, None, :]
        return log_prior + self.head.log_prob(x, self.decoder(z), mask) - self.head.base(x, mask)

    @classmethod
    def in_float64(cls, vae: VAE) -> VAE:
        """Return a copy in float64."""
        return copy.deepcopy(vae).double()
