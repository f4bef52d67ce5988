"""manifest.json as strict, immutable records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from anomaly_vae.bundle.strict_json import check_json
from anomaly_vae.calibration import Calibration
from anomaly_vae.columns.adjustment import Adjustment
from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.tails import Tail
from anomaly_vae.columns.transforms import Transform, YeoJohnson
from anomaly_vae.density.prior import NORMAL, Prior
from anomaly_vae.errors import BundleError
from anomaly_vae.record import Count, Positive, Record

__all__ = [
    "FORMAT_VERSION",
    "GRAPHS",
    "Architecture",
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
    "member_suffix",
    "refuse_other_version",
]

FORMAT_VERSION = 5

# The graphs of a member. encoder: q(z|x). decoder: the parameters of p(x|z). log_joint: log p(x, z) of samples.
# posterior: log p(x, z) with its derivatives in z. likelihood: log p(x|z) at given parameters.
GRAPHS = ("encoder", "decoder", "log_joint", "posterior", "likelihood")

# Characters of a parser's message that an error shows. Chosen, not measured: hostile files can make it long.
_SHOWN_TEXT = 300


# Most growth of distances at the start of a tail. Chosen, not measured: far more than training gives.
_MOST_STRETCH = 1e12


class FileRecord(Record):
    """Digest and size of one file of the bundle."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    size: Count


class Architecture(Record):
    """The networks: kind, number of latent dimensions L, widths of the hidden layers, activation."""

    kind: Literal["mlp"] = "mlp"
    latent_dim: Annotated[int, Meta(ge=1, le=1024)]
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=4096)], ...], Meta(min_length=1, max_length=8)]
    activation: Literal["silu"] = "silu"


class MemberRecord(Record):
    """One model of the ensemble, which often has only one.

    Attributes:
        architecture: The networks.
        prior: p(z).
        columns: Head and transform of each modelled column of the schema.
    """

    architecture: Architecture
    prior: Prior = NORMAL
    columns: tuple[ColumnModel, ...]


class Estimator(Record):
    """How log p(x) is estimated, also in the calibration.

    Attributes:
        target_error: Sampling of a row ends when its standard error is at most this, nats.
        num_samples: The cap: most decoder evaluations of a row.
        careful_below: A row whose score is below this gets the thorough search for modes at once, nats in data units.
            Usual thresholds lie below it, so the scores that decide are the best ones. None: no row does.
        extra_starts: Starts of the search for modes in every row, next to the encoder's mean.
        scramblings: R, independent scramblings of the Sobol points in noise.npy.
    """

    target_error: Annotated[float, Meta(gt=0.0)]
    num_samples: Annotated[int, Meta(ge=16, le=2**16, multiple_of=16)]
    careful_below: float | None
    extra_starts: Annotated[int, Meta(ge=0, le=8)] = 0
    scramblings: Annotated[int, Meta(ge=2, le=1024)]


class Gate(Record):
    """The result of one release gate: a check of the trained model before export.

    Attributes:
        name: The name of the check.
        passed: Whether the model passed; None if the check does not apply to this model.
        detail: What was found and what was expected, as text.
    """

    name: str
    passed: bool | None
    detail: str


class Candidate(Record):
    """One model that the search trained.

    Attributes:
        settings: The settings in which the candidates differ.
        criterion: Area under the ROC curve that separates held-out rows from the same rows with some cells replaced by
            those of other rows; None if there was only one candidate.
        held_out_elbo: Mean over held-out rows, nats in data units.
        chosen: Whether it is a member of the ensemble.
    """

    settings: dict[str, Any]
    criterion: float | None
    held_out_elbo: float
    chosen: bool


class Training(Record):
    """Facts of the training run.

    Attributes:
        num_rows, num_held_out: Number of training rows, and of rows for early stopping.
        steps, best_step: Optimiser steps that were run, and the step whose weights were kept.
        held_out_elbo, held_out_kl: Means of the first member at the best step, nats, ELBO in data units; over at most
            1,024 held-out rows without the least likely 2 %.
        interrupted: Whether the user stopped the run.
        gates: The checks before export.
        candidates: All models that the search trained.
        onnx_error: Largest relative difference of log p(x) between ONNX (float32) and torch (float64).
        config: The parameters, "auto" replaced by the values used.
        versions: Versions of the libraries that were used.
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


class Manifest(Record):
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
    """Return indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check manifest.json.

    Raises:
        BundleError: The bytes are not JSON, have another format version, or a field is missing, unknown, of the wrong
            type or out of range.
    """
    refuse_other_version(data, where)
    with _parse_errors(where):
        manifest = msgspec.json.decode(data, type=Manifest)
    for holds, rule in _rules(manifest):
        if not holds:
            raise BundleError(f"{where}: {rule}; the file was changed after export")
    return manifest


def refuse_other_version(data: bytes, where: str) -> None:
    """Raise BundleError if the manifest is not JSON, or has a format version that this release does not read."""
    with _parse_errors(where):
        check_json(data)
        version = msgspec.json.decode(data, type=_VersionOnly).format_version
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{where}: format version {version}, this release reads {FORMAT_VERSION}; "
            "upgrade anomaly_vae or train the model again"
        )


@contextlib.contextmanager
def _parse_errors(where: str) -> Iterator[None]:
    """Turn every error of a parser into BundleError."""
    try:
        yield
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        text = str(error)[:_SHOWN_TEXT]
        raise BundleError(f"{where}: not a manifest of a model bundle: {text}. Copy the folder again") from error


# Rules are generated one after the other: later ones may rely on earlier ones.
_Rules = Iterator[tuple[bool, str]]


def _rules(manifest: Manifest) -> _Rules:
    """Yield for each rule that types cannot express whether it holds, and its text."""
    schema = manifest.schema
    modelled = [schema.columns[d] for d in schema.modelled]
    yield from _rules_of_texts(manifest)
    yield from _rules_of_schema(schema)
    for member in manifest.members:
        yield from _rules_of_member(member, modelled)
    yield manifest.adjustment.fits(len(modelled)), "adjustment must fit the modelled columns"
    yield from _rules_of_estimator(manifest.estimator, len(manifest.members))
    yield from _rules_of_calibration(manifest.calibration)


def _rules_of_texts(manifest: Manifest) -> _Rules:
    schema, gates = manifest.schema, manifest.training.gates
    settings = [candidate.settings for candidate in manifest.training.candidates]
    texts = [manifest.created_by, manifest.created_at, schema.label or "", *schema.names]
    texts += [text for gate in gates for text in (gate.name, gate.detail)]
    texts += [str(part) for each in settings for pair in each.items() for part in pair]
    yield all(text.isprintable() for text in texts), "names must be printable"
    yield all(set(each) == set(settings[0]) for each in settings), "training.candidates must have equal settings"


def _rules_of_schema(schema: Schema) -> _Rules:
    columns = schema.columns
    yield all(schema.names) and schema.label not in schema.names, "columns must have names, and not the label's"
    yield len(set(schema.names)) == len(schema.names), "schema.columns must have unique names"
    yield len(schema.modelled) > 0, "schema.columns must have a modelled column"
    yield (
        all((column.kind == "constant") == (column.value is not None) for column in columns),
        "schema.columns: exactly the constant columns have a value",
    )
    yield (
        all((column.kind == "categorical") == bool(column.categories) for column in columns),
        "schema.columns: exactly the categorical columns have categories",
    )
    yield (
        all(len(set(found)) == len(found) for found in schema.categories.values()),
        "schema.columns: categories must be unique",
    )
    yield (
        all(list(column.rare) == sorted(set(column.rare)) for column in columns)
        and all(column.rare[-1] < len(column.categories or ()) for column in columns if column.rare),
        "schema.columns: rare must be increasing indices of categories",
    )
    yield (
        all(column.other_share is None or not _has_no_other(column) for column in columns),
        "schema.columns: only columns that can hold an unknown value have an other_share",
    )


def _has_no_other(column: Column) -> bool:
    """Return whether the head gives every value a density, so that no value is outside those of the column."""
    return not column.can_be_novel or column.has_other_level


def _rules_of_member(member: MemberRecord, modelled: Sequence[Column]) -> _Rules:
    yield member.prior.fits(member.architecture.latent_dim), "members: a prior must fit the latent dimensions"
    yield len(member.columns) == len(modelled), "members must have one entry in columns for each modelled column"
    for column, model in zip(modelled, member.columns, strict=True):
        yield (
            model.head.num_categories == column.num_levels,
            "members: exactly the categorical columns have a categorical head, of their size",
        )
        has_transform = model.transform is not None
        yield has_transform == model.head.takes_transform, "members: exactly the heads of numbers have a transform"
        yield model.transform is None or _is_invertible(model.transform), "members: a transform cannot be inverted"
        yield (
            model.tails is None or (has_transform and model.tails.low.end <= model.tails.high.end),
            "members: tails need a transform, and the low end of the range below the high end",
        )
        yield (
            model.tails is None or all(_is_moderate(side) for side in (model.tails.low, model.tails.high)),
            f"members: the size of a tail must be its length at least, and at most {_MOST_STRETCH:g} times as much",
        )


def _is_moderate(tail: Tail) -> bool:
    return tail.length <= tail.size <= _MOST_STRETCH * tail.length


def _rules_of_estimator(estimator: Estimator, num_members: int) -> _Rules:
    ratio, rest = divmod(estimator.num_samples, estimator.scramblings * num_members)
    yield (
        rest == 0 and ratio & (ratio - 1) == 0 and num_members & (num_members - 1) == 0,
        "estimator.num_samples must be a multiple of 16 and scramblings times members times a power of two",
    )


def _rules_of_calibration(calibration: Calibration) -> _Rules:
    yield (
        calibration.num_novel < calibration.rank,
        "calibration.num_novel must be below rank: older releases wrote such models, which flag nothing; train again",
    )
    yield calibration.rank <= calibration.num_rows, "calibration.rank must be at most num_rows"
    yield (
        calibration.effective_fpr == calibration.rank / (calibration.num_rows + 1),
        "calibration.effective_fpr must be rank / (num_rows + 1)",
    )


def _is_invertible(transform: Transform) -> bool:
    """Return whether the transform is strictly increasing on all real numbers."""
    if isinstance(transform, YeoJohnson):
        return transform.scale > 0.0 and transform.unit > 0.0 and 0.0 <= transform.power <= 2.0
    return transform.scale > 0.0


def graph_names(num_members: int) -> tuple[str, ...]:
    """Return the file names of the graphs of all members."""
    return tuple(f"{graph}{member_suffix(m)}.onnx" for m in range(num_members) for graph in GRAPHS)


def member_suffix(member: int) -> str:
    """Return the end of the names of a member's graphs: empty for the first member, then -2, -3 and so on."""
    return f"-{member + 1}" if member else ""
