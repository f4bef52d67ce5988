"""manifest.json: what a bundle says of itself, as strict, immutable records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from anomaly_vae.adjustment import Adjustment
from anomaly_vae.errors import BundleError
from anomaly_vae.heads import CategoricalHead, ColumnModel
from anomaly_vae.schema import Schema
from anomaly_vae.strict_json import check_json
from anomaly_vae.transforms import Transform, YeoJohnson

__all__ = [
    "FORMAT_VERSION",
    "Architecture",
    "Calibration",
    "Candidate",
    "Estimator",
    "FileRecord",
    "Gate",
    "Manifest",
    "MemberRecord",
    "Training",
    "decode_manifest",
    "encode_manifest",
    "graph_names",
    "refuse_other_version",
    "suffix",
]

FORMAT_VERSION = 4

_LONGEST_TEXT = 300

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


class MemberRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the mixture that is scored, most often the only one.

    Attributes:
        architecture: Its networks.
        columns: How each modelled column of the schema enters it.
    """

    architecture: Architecture
    columns: tuple[ColumnModel, ...]


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


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One check of a trained model before its release.

    Attributes:
        name: What was checked.
        passed: Whether it held; None where the check does not apply to this model.
        detail: What was found and what was expected, in words.
    """

    name: str
    passed: bool | None
    detail: str


class Candidate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model that the search trained.

    Attributes:
        settings: What sets it apart.
        criterion: Area under the ROC curve of held-out rows against themselves with cells of other rows; None where
            there was nothing to choose.
        held_out_elbo: Mean over held-out rows, nats in data units.
        chosen: Whether it is a member of the model.
    """

    settings: dict[str, Any]
    criterion: float | None
    held_out_elbo: float
    chosen: bool


class Training(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the training run did.

    Attributes:
        num_rows, num_held_out: Rows trained on, rows for early stopping.
        steps, best_step: Optimiser steps run, and the step whose weights were kept.
        held_out_elbo, held_out_kl: Means over at most 1,024 held-out rows then, without the least likely 2 %, nats,
            ELBO in data units; of the first member.
        interrupted: Whether the run was stopped by hand.
        gates: The checks before release.
        candidates: What the search tried, the chosen ones among them.
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
    gates: tuple[Gate, ...]
    candidates: tuple[Candidate, ...]
    config: dict[str, Any]
    versions: dict[str, str]


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in manifest.json."""

    format_version: int = FORMAT_VERSION
    created_by: str
    created_at: str
    schema: Schema
    members: Annotated[tuple[MemberRecord, ...], Meta(min_length=1, max_length=16)]
    adjustment: Adjustment
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
    refuse_other_version(data, where)
    with _refusing_malformed(where):
        manifest = msgspec.json.decode(data, type=Manifest)
    _check_consistent(manifest, where)
    return manifest


def refuse_other_version(data: bytes, where: str) -> None:
    """Raise BundleError if the manifest is not JSON, or of a format version that this release does not read."""
    with _refusing_malformed(where):
        check_json(data)
        version = msgspec.json.decode(data, type=_VersionOnly).format_version
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{where}: format version {version}, this release reads {FORMAT_VERSION}; "
            "upgrade anomaly_vae or train the model again"
        )


@contextlib.contextmanager
def _refusing_malformed(where: str) -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        text = str(error)[:_LONGEST_TEXT]
        raise BundleError(f"{where}: not a manifest of a model bundle: {text}. Copy the folder again") from error


def _check_consistent(manifest: Manifest, where: str) -> None:
    schema, calibration, estimator = manifest.schema, manifest.calibration, manifest.estimator
    modelled = [schema.columns[d] for d in schema.modelled]
    gates, tried = manifest.training.gates, [candidate.settings for candidate in manifest.training.candidates]
    texts = [manifest.created_by, manifest.created_at, schema.label or "", *schema.names]
    texts += [text for gate in gates for text in (gate.name, gate.detail)]
    texts += [str(part) for settings in tried for pair in settings.items() for part in pair]

    def require(holds: bool, rule: str) -> None:
        if not holds:
            raise BundleError(f"{where}: {rule}; the file was changed after export")

    require(all(text.isprintable() for text in texts), "names must be printable")
    require(all(set(settings) == set(tried[0]) for settings in tried), "training.candidates must have equal settings")
    require(all(schema.names) and schema.label not in schema.names, "columns must have names, and not the label's")
    require(len(set(schema.names)) == len(schema.names), "schema.columns must have unique names")
    require(len(modelled) > 0, "schema.columns must have a modelled column")
    require(
        all((column.kind == "constant") == (column.value is not None) for column in schema.columns),
        "schema.columns: exactly the constant columns have a value",
    )
    require(
        all((column.kind == "categorical") == bool(column.categories) for column in schema.columns),
        "schema.columns: exactly the categorical columns have categories",
    )
    require(
        all(len(set(found)) == len(found) for found in schema.categories.values()),
        "schema.columns: categories must be unique",
    )
    for member in manifest.members:
        require(len(member.columns) == len(modelled), "members must have one entry in columns for each modelled column")
        for column, model in zip(modelled, member.columns, strict=True):
            size = model.head.size if isinstance(model.head, CategoricalHead) else None
            require(
                size == (len(column.categories) if column.categories else None),
                "members: exactly the categorical columns have a categorical head, of their size",
            )
            numeric = model.head.__struct_config__.tag not in ("bernoulli", "count", "categorical")
            require((model.transform is not None) == numeric, "members: exactly the heads of numbers have a transform")
            require(model.transform is None or _is_sound(model.transform), "members: a transform cannot be inverted")
    require(manifest.adjustment.fits(len(modelled)), "adjustment must fit the modelled columns")
    least = estimator.scramblings * len(manifest.members)
    ratio, rest = divmod(estimator.num_samples, least)
    require(
        rest == 0 and ratio & (ratio - 1) == 0 and len(manifest.members) & (len(manifest.members) - 1) == 0,
        "estimator.num_samples must be a multiple of 16 and scramblings times members times a power of two",
    )
    require(calibration.num_novel <= calibration.num_rows, "calibration.num_novel must be at most num_rows")
    require(calibration.rank <= calibration.num_rows, "calibration.rank must be at most num_rows")
    require(
        calibration.effective_fpr == calibration.rank / (calibration.num_rows + 1),
        "calibration.effective_fpr must be rank / (num_rows + 1)",
    )


def _is_sound(transform: Transform) -> bool:
    """Whether the transform is a strictly rising function of the whole line."""
    if isinstance(transform, YeoJohnson):
        return transform.scale > 0.0 and transform.unit > 0.0 and 0.0 <= transform.power <= 2.0
    return transform.scale > 0.0


def graph_names(num_members: int) -> tuple[str, ...]:
    """File names of the graphs of a mixture's members."""
    return tuple(
        f"{graph}{suffix(m)}.onnx" for m in range(num_members) for graph in ("encoder", "decoder", "log_joint")
    )


def suffix(member: int) -> str:
    """What sets the file names of a member's graphs apart from those of the first."""
    return f"-{member + 1}" if member else ""
