"""The members of a bundle as networks that are ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomaly_vae.bundle.manifest import MemberRecord, member_suffix
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.member import Member
from anomaly_vae.density.runtime import OnnxNetwork, Slots

__all__ = ["open_members"]


def open_members(
    schema: Schema, records: Sequence[MemberRecord], graphs: Mapping[str, bytes], slots: Slots | None = None
) -> list[Member]:
    """Load the networks of all members.

    Args:
        schema: The columns.
        records: The members.
        graphs: ONNX bytes by file name.
        slots: Limits how many calls of networks run at the same time.

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
            suffix=member_suffix(m),
            slots=slots,
        )
        members.append(Member.of(network, record.architecture.latent_dim, features, record.prior))
    return members
