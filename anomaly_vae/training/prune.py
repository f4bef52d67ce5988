"""Remove the latent dimensions that a trained model does not use.

Training leaves many dimensions at the prior: the encoder says nothing in them and the decoder hardly reads them. They
change no density, but every search for a mode and every importance sample pays for them. The pruned networks are a
model of their own, with a smaller z, and its log p(x) is exact in the same sense.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from anomaly_vae.training.data import Data
from anomaly_vae.training.vae import VAE

__all__ = ["prune_latents"]

# Nats of the mean held-out ELBO that the removed dimensions may cost together. Measured on 20 ADBench tables: 0.05
# removes 1 to 13 of 16 dimensions where a model has unused ones, and the ELBO rises as often as it falls. With 0.02 the
# noise of small tables keeps some of them.
_MAX_LOSS = 0.05

# Held-out rows and samples of z behind each ELBO, and the share of the rows, the least likely, that are left out: one
# outlier could decide. Chosen, not measured: all compared ELBOs share rows and samples.
_MAX_ROWS, _DRAWS, _TRIM = 600, 16, 0.02


@torch.no_grad()
def prune_latents(vae: VAE, held_out: Data, seed: int) -> VAE:
    """Return the model without its unused latent dimensions, or the model itself if it uses all of them.

    The dimensions are tried in order of their information about x, the least first. At least one remains.

    Args:
        vae: The trained model.
        held_out: Rows that did not train it.
        seed: Of the samples of z.
    """
    rows = Data(held_out.x[:_MAX_ROWS], held_out.mask[:_MAX_ROWS])
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(_DRAWS, 1, vae.latent_dim, generator=generator)
    loc, log_var = vae.encoder(*rows)
    # The information about x in each dimension, if all were Gaussian.
    spread = torch.log(loc.var(dim=0, correction=0) + torch.exp(log_var).mean(dim=0))
    information = 0.5 * (spread - log_var.mean(dim=0))
    kept = torch.ones(vae.latent_dim)
    full = _elbo(vae, rows, noise, kept)
    usual = full >= torch.quantile(full, _TRIM)
    least = float(full[usual].mean()) - _MAX_LOSS
    for dim in information.argsort().tolist():
        if dim < vae.num_levels:
            continue  # a level is there for the windows that training never had
        without = kept.clone()
        without[dim] = 0.0
        if without[vae.num_levels :].any() and float(_elbo(vae, rows, noise, without)[usual].mean()) >= least:
            kept = without
    return vae if bool(kept.all()) else _narrowed(vae, torch.nonzero(kept)[:, 0])


def _elbo(vae: VAE, rows: Data, noise: Tensor, kept: Tensor) -> Tensor:
    """Return the ELBO of each row with the other dimensions at the prior's mean, nats in model units, (N,)."""
    loc, log_var = vae.encoder(*rows)
    z = torch.where(kept > 0.0, loc + torch.exp(0.5 * log_var) * noise, vae.prior.mean())
    dims = torch.nonzero(kept)[:, 0]
    prior = vae.prior.kept(dims)
    kl = torch.stack([prior.kl(loc[:, dims], log_var[:, dims], each[:, dims]).sum(dim=-1) for each in noise])
    return (vae.head.log_prob(rows.x, vae.decode(z), rows.mask) - kl).mean(dim=0).double()


def _narrowed(vae: VAE, kept: Tensor) -> VAE:
    """Return a copy with these latent dimensions only."""
    narrow = copy.deepcopy(vae)
    first, last = narrow.decoder[0], narrow.encoder.net[-1]
    if not (isinstance(first, nn.Linear) and isinstance(last, nn.Linear)):
        raise TypeError("a decoder starts, and an encoder ends, with a Linear layer")
    rows = torch.cat([kept, kept + vae.latent_dim])
    mean = vae.prior.mean()
    mean[kept] = 0.0
    inner = kept[kept >= vae.num_levels] - vae.num_levels
    narrow.decoder[0] = _linear(first.weight[:, inner], first.bias + first.weight @ mean[vae.num_levels :])
    narrow.prior = vae.prior.kept(kept)
    narrow.encoder.net[-1] = _linear(last.weight[rows], last.bias[rows])
    narrow.latent_dim = len(kept)
    return narrow


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    # Without random start values, which would change the caller's random state.
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta").to_empty(device=weight.device)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
