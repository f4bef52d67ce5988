"""manifest.json: what a bundle says of itself, as strict, immutable records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from anomaly_vae.errors import BundleError
from anomaly_vae.schema import Schema
from anomaly_vae.transforms import Standardise

__all__ = [
    "FORMAT_VERSION",
    "Architecture",
    "Calibration",
    "Estimator",
    "FileRecord",
    "GaussianHead",
    "Manifest",
    "Training",
    "decode_manifest",
    "encode_manifest",
]

FORMAT_VERSION = 2

Positive = Annotated[int, Meta(ge=1, le=2**40)]
Count = Annotated[int, Meta(ge=0, le=2**40)]
Rate = Annotated[float, Meta(gt=0.0, lt=1.0)]


class FileRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digest and size of one file of the bundle."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    size: Count


class Architecture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The networks: kind, latent dimensions L, widths of the hidden layers, activation."""

    kind: Literal["mlp"] = "mlp"
    latent_dim: Annotated[int, Meta(ge=1, le=1024)]
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=4096)], ...], Meta(min_length=1, max_length=8)]
    activation: Literal["silu"] = "silu"


class GaussianHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="gaussian", tag_field="kind"):
    """p(x_d | z) = N(loc_d(z), exp(log_var_d)) for all modelled columns, in model units."""

    variance: Literal["learned", "fixed"]
    log_var: tuple[Annotated[float, Meta(ge=-100.0, le=100.0)], ...]


class Estimator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How log p(x) is estimated.

    Attributes:
        num_samples: K, the default budget of decoder evaluations a row; calibration used it.
        scramblings: R, independent scramblings of the Sobol points in noise.npy.
    """

    num_samples: Annotated[int, Meta(ge=16, le=2**16, multiple_of=16)]
    scramblings: Annotated[int, Meta(ge=2, le=1024)]


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The threshold and where it comes from.

    Attributes:
        num_rows: n, calibration rows.
        num_novel: How many of them rank below every other (a constant column changed).
        target_fpr: alpha as asked for.
        confidence: Confidence that the false-positive rate is at most alpha, or None for its mean.
        rank: k; the threshold is the k-th smallest score.
        effective_fpr: k / (n + 1).
        threshold: Nats.
    """

    num_rows: Positive
    num_novel: Count
    target_fpr: Rate
    confidence: Rate | None
    rank: Positive
    effective_fpr: Rate
    threshold: float


class Training(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the training run did.

    Attributes:
        num_rows, num_held_out: Rows trained on, rows for early stopping.
        steps, best_step: Optimiser steps run, and the step whose weights were kept.
        held_out_elbo, held_out_kl: Means over at most 2,048 held-out rows then, nats, ELBO in data units.
        interrupted: Whether the run was stopped by hand.
        onnx_error: Largest relative difference of log p(x) between ONNX (float32) and torch (float64).
        config: The parameters, as resolved.
        versions: Versions of the libraries that trained it.
    """

    num_rows: Positive
    num_held_out: Positive
    steps: Positive
    best_step: Count
    held_out_elbo: float
    held_out_kl: float
    interrupted: bool
    onnx_error: float
    config: dict[str, Any]
    versions: dict[str, str]


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in manifest.json."""

    format_version: int = FORMAT_VERSION
    created_by: str
    created_at: str
    schema: Schema
    transform: Standardise
    architecture: Architecture
    likelihood: GaussianHead
    estimator: Estimator
    calibration: Calibration
    training: Training
    files: dict[str, FileRecord]


class _VersionOnly(Struct):
    format_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check manifest.json.

    Raises:
        BundleError: Not JSON, another format version, a field missing, unknown, of the wrong type or range.
    """
    try:
        version = msgspec.json.decode(data, type=_VersionOnly).format_version
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{where}: format version {version}, this release reads {FORMAT_VERSION}; "
                "upgrade anomaly_vae or train the model again"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: not a manifest of a model bundle: {error}. Copy the folder again") from error
    _check_consistent(manifest, where)
    return manifest


def _check_consistent(manifest: Manifest, where: str) -> None:
    schema, calibration, estimator = manifest.schema, manifest.calibration, manifest.estimator
    modelled = len(schema.modelled)
    transform = manifest.transform
    texts = [manifest.created_by, manifest.created_at, schema.label or "", *schema.names]

    def require(holds: bool, rule: str) -> None:
        if not holds:
            raise BundleError(f"{where}: {rule}; the file was changed after export")

    require(all(text.isprintable() for text in texts), "names must be printable")
    require(all(schema.names) and schema.label not in schema.names, "columns must have names, and not the label's")
    require(len(set(schema.names)) == len(schema.names), "schema.columns must have unique names")
    require(modelled > 0, "schema.columns must have a modelled column")
    require(
        all((column.kind == "constant") == (column.value is not None) for column in schema.columns),
        "schema.columns: exactly the constant columns have a value",
    )
    require(
        len(transform.center) == len(transform.scale) == len(manifest.likelihood.log_var) == modelled,
        "transform and likelihood must have one entry per modelled column",
    )
    require(all(scale > 0.0 for scale in transform.scale), "transform.scale must be positive")
    per_scrambling, rest = divmod(estimator.num_samples, estimator.scramblings)
    require(
        rest == 0 and per_scrambling & (per_scrambling - 1) == 0,
        "estimator.num_samples must be a multiple of 16 and scramblings times a power of two",
    )
    require(calibration.num_novel <= calibration.num_rows, "calibration.num_novel must be at most num_rows")
    require(calibration.rank <= calibration.num_rows, "calibration.rank must be at most num_rows")
    require(
        calibration.effective_fpr == calibration.rank / (calibration.num_rows + 1),
        "calibration.effective_fpr must be rank / (num_rows + 1)",
    )
