"""The variational autoencoder: prior p(z), encoder q(z|x), decoder p(x|z)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.training.convolutions import FromPlanes, Plan, conv_decoder
from anomaly_vae.training.levels import Levels
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
        self,
        columns: Sequence[ColumnModel],
        hidden: tuple[int, ...],
        latent_dim: int,
        components: int = 0,
        plan: Plan | None = None,
    ) -> None:
        """Make the networks.

        Args:
            columns: The modelled columns.
            hidden: Widths of the hidden layers, without convolutions.
            latent_dim: L.
            components: The prior is a mixture of this many Gaussians, or N(0, I) with 0.
            plan: Of convolutions; None for multilayer perceptrons.
        """
        super().__init__()
        self.latent_dim = latent_dim
        self.head = TableHead(columns)
        layout = self.head.layout
        cells = 0 if plan is None else plan.plane[0] * plan.plane[1]
        self.levels = Levels(layout.blocks, cells) if plan is not None and plan.levels else None
        self.encoder = Encoder(layout, hidden, latent_dim, plan, self.levels)
        if plan is None:
            self.decoder = mlp([latent_dim, *reversed(hidden), layout.num_params])
        else:
            self.decoder = conv_decoder(plan, layout.blocks, latent_dim - self.num_levels)
        self.prior: TorchPrior = Normal(latent_dim)
        if components:
            self.prior = Mixture(latent_dim, components, self.num_levels)

    @torch.no_grad()
    def init_from_marginals(self, x: Tensor, mask: Tensor) -> None:
        """Set the output biases to the marginals of rows (N, F); zeros are far off for rare categories and counts."""
        last = self.decoder[-1]
        if isinstance(last, (nn.Linear, FromPlanes)):
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
        return ElboTerms(self.head.log_prob(x, self.decode(z), mask), kl.sum(dim=-1), kl)

    def decode(self, z: Tensor) -> Tensor:
        """Return the parameters of p(x|z), (..., L) -> (..., P)."""
        flat = z.reshape(-1, z.shape[-1])
        params: Tensor = self.decoder(flat[:, self.num_levels :])
        if self.levels is not None:
            params = params + flat[:, : self.num_levels] @ self.levels.place
        return params.reshape(*z.shape[:-1], -1)

    @property
    def num_levels(self) -> int:
        """The dimensions of z, its first, that are levels of channels: they do not enter the decoder's layers."""
        return 0 if self.levels is None else self.levels.number

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
        return log_prior + self.head.log_prob(x, self.decode(z), mask) - self.head.base(x, mask)

    @classmethod
    def in_float64(cls, vae: VAE) -> VAE:
        """Return a copy in float64."""
        return copy.deepcopy(vae).double()
