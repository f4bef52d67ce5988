"""One model of an ensemble."""

from __future__ import annotations

from typing import NamedTuple

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.likelihood import Likelihood, TableLikelihood
from anomaly_vae.density.network import Network
from anomaly_vae.density.prior import NORMAL, Prior

__all__ = ["Member"]


class Member(NamedTuple):
    """One model of an ensemble; an ensemble may have a single member.

    Attributes:
        network: Encoder, decoder and log_joint.
        latent_dim: L.
        features: Turns rows into the network's inputs.
        likelihood: p(x|z) as a function of the decoder's output.
        prior: p(z).
    """

    network: Network
    latent_dim: int
    features: Features
    likelihood: Likelihood
    prior: Prior = NORMAL

    @classmethod
    def of(cls, network: Network, latent_dim: int, features: Features, prior: Prior = NORMAL) -> Member:
        """Make a member with the likelihood of the features' layout; the prior is N(0, I) by default."""
        return cls(network, latent_dim, features, TableLikelihood(features.layout), prior)
