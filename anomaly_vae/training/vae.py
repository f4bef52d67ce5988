"""The variational autoencoder: prior p(z), encoder q(z|x), decoder p(x|z)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.training.networks import Encoder, mlp
from anomaly_vae.training.prior import Mixture, Normal, TorchPrior
from anomaly_vae.training.torch_heads.table import TableHead

__all__ = ["VAE", "ElboTerms"]


class ElboTerms(NamedTuple):
    """The two parts of the ELBO of each row, nats in model units, shape (N,).

    Attributes:
        log_likelihood: log p(x|z) at the sampled z, summed over columns.
        kl: KL(q(z|x) || p(z)), closed form or estimated, summed over latent dimensions.
        kl_by_dim: The KL of each latent dimension, shape (N, L); an estimate is not divided, (N, 1).
    """

    log_likelihood: Tensor
    kl: Tensor
    kl_by_dim: Tensor


class VAE(nn.Module):
    """Encoder, decoder and likelihood heads, in model units."""

    def __init__(
        self, columns: Sequence[ColumnModel], hidden: tuple[int, ...], latent_dim: int, components: int = 0
    ) -> None:
        """Make the networks; the prior is a mixture of this many Gaussians, or N(0, I) with 0."""
        super().__init__()
        self.latent_dim = latent_dim
        self.head = TableHead(columns)
        layout = self.head.layout
        self.encoder = Encoder(layout, hidden, latent_dim)
        self.decoder = mlp([latent_dim, *reversed(hidden), layout.num_params])
        self.prior: TorchPrior = Mixture(latent_dim, components) if components else Normal(latent_dim)

    @torch.no_grad()
    def init_from_marginals(self, x: Tensor, mask: Tensor) -> None:
        """Set the output biases to the marginals of rows (N, F); zeros are far off for rare categories and counts."""
        last = self.decoder[-1]
        if isinstance(last, nn.Linear):
            last.bias.add_(self.head.start(x, mask))

    def elbo_terms(self, x: Tensor, mask: Tensor, noise: Tensor) -> ElboTerms:
        """Return the ELBO terms at z = loc + scale * noise (reparametrised, so gradients reach the encoder).

        Args:
            x, mask: Shape (N, F).
            noise: Standard normal, shape (N, L).

        References:
            Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
        """
        loc, log_var = self.encoder(x, mask)
        z = loc + torch.exp(0.5 * log_var) * noise
        kl = self.prior.kl(loc, log_var, noise)
        return ElboTerms(self.head.log_prob(x, self.decoder(z), mask), kl.sum(dim=-1), kl)

    def log_joint(self, x: Tensor, mask: Tensor, loc: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
        """Return log p(x, z) without the heads' base at z = loc + scale * noise, nats, shape (N, S).

        Args:
            x, mask: Shape (N, F).
            loc, scale: Shape (N, L).
            noise: Shape (S, L).
        """
        z = loc[:, None, :] + scale[:, None, :] * noise
        log_prior = self.prior.log_prob(z)
        x, mask = x[:, None, :], mask[:, None, :]
        return log_prior + self.head.log_prob(x, self.decoder(z), mask) - self.head.base(x, mask)

    @classmethod
    def in_float64(cls, vae: VAE) -> VAE:
        """Return a copy in float64."""
        return copy.deepcopy(vae).double()
