"""One model of those that are scored as a mixture: its networks, how rows enter them, its likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from anomaly_vae.features import Features
from anomaly_vae.likelihood import Likelihood, TableLikelihood
from anomaly_vae.manifest import MemberRecord, suffix
from anomaly_vae.runtime import Network, OnnxNetwork, Slots
from anomaly_vae.schema import Schema

__all__ = ["Member", "open_members"]


class Member(NamedTuple):
    """One model of a mixture, most often the only one.

    Attributes:
        network: Its networks.
        latent_dim: Their latent dimensions.
        features: How rows enter it.
        likelihood: Its heads.
    """

    network: Network
    latent_dim: int
    features: Features
    likelihood: Likelihood

    @classmethod
    def of(cls, network: Network, latent_dim: int, features: Features) -> Member:
        """With the likelihood that belongs to the features."""
        return cls(network, latent_dim, features, TableLikelihood(features.layout))


def open_members(
    schema: Schema, records: Sequence[MemberRecord], graphs: Mapping[str, bytes], slots: Slots | None = None
) -> list[Member]:
    """The models of a bundle, or of one in the making; slots bound the networks' calls that run side by side.

    Raises:
        BundleError: A graph cannot be loaded or does not fit the manifest.
    """
    members = []
    for m, record in enumerate(records):
        features = Features(schema, record.columns)
        network = OnnxNetwork(
            graphs,
            latent_dim=record.architecture.latent_dim,
            num_features=features.layout.num_features,
            num_params=features.layout.num_params,
            suffix=suffix(m),
            slots=slots,
        )
        members.append(Member.of(network, record.architecture.latent_dim, features))
    return members
