"""The networks of a bundle, ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomaly_vae.bundle.manifest import MemberRecord, member_suffix
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.contrast import Contrast
from anomaly_vae.density.member import Member
from anomaly_vae.density.network import CallSizes
from anomaly_vae.density.runtime import OnnxContrast, OnnxNetwork, Slots

__all__ = ["open_contrast", "open_members"]


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
        latent_dim, num_features = record.architecture.latent_dim, features.layout.num_features
        has_convolutions = record.architecture.kind != "mlp"
        network = OnnxNetwork(
            graphs,
            latent_dim=latent_dim,
            num_features=num_features,
            num_params=features.layout.num_params,
            suffix=member_suffix(m),
            slots=slots,
            call_sizes=CallSizes.of_convolutions(num_features, latent_dim) if has_convolutions else None,
        )
        members.append(Member.of(network, latent_dim, features, record.prior))
    return members


def open_contrast(graphs: Mapping[str, bytes], features: Features, slots: Slots | None = None) -> Contrast:
    """Load the classifier of a bundle.

    Args:
        graphs: ONNX bytes by file name.
        features: Those of the first member.
        slots: As for :func:`open_members`.

    Raises:
        BundleError: The graph cannot be loaded or does not fit the manifest.
    """
    return Contrast(OnnxContrast(graphs, num_features=features.layout.num_features, slots=slots), features)
