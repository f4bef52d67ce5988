"""manifest.json as strict, immutable records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from anomaly_vae.calibration import Calibration
from anomaly_vae.columns.adjustment import Adjustment
from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.statistics import RowStatistics
from anomaly_vae.density.prior import NORMAL, Prior
from anomaly_vae.record import Count, Positive, Record

__all__ = [
    "FORMAT_VERSION",
    "GRAPHS",
    "MOST_POINTS",
    "Architecture",
    "Candidate",
    "ContrastRecord",
    "Curve",
    "Estimator",
    "FileRecord",
    "Gate",
    "Manifest",
    "MemberRecord",
    "Training",
    "graph_names",
    "member_suffix",
]

FORMAT_VERSION = 7

# Points of a curve of the training, at most. Chosen, not measured: more cannot be told apart in a picture.
MOST_POINTS = 200

# The graphs of a member. encoder: q(z|x). decoder: the parameters of p(x|z). log_joint: log p(x, z) of samples.
# posterior: log p(x, z) with its derivatives in z. likelihood: log p(x|z) at given parameters.
GRAPHS = ("encoder", "decoder", "log_joint", "posterior", "likelihood")


class FileRecord(Record):
    """Digest and size of one file of the bundle."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    size: Count


class Architecture(Record):
    """The networks.

    Attributes:
        kind: Multilayer perceptrons, or convolutions over the steps of a window or the pixels of an image.
        latent_dim: L, number of latent dimensions.
        hidden: Widths of the hidden layers, or channels of the convolutions.
        residual: Whether there are residual blocks between the convolutions.
        activation: After each hidden layer.
    """

    kind: Literal["mlp", "conv1d", "conv2d"] = "mlp"
    latent_dim: Annotated[int, Meta(ge=1, le=1024)]
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=4096)], ...], Meta(min_length=1, max_length=8)]
    residual: bool = False
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


class Curve(Record):
    """How a training went: what some of its evaluations found, evenly spread.

    Attributes:
        steps: Optimiser steps done, increasing.
        training: Mean of the objective over the training batches since the evaluation before, nats in data units: the
            ELBO, with the weights and the trimming of the training.
        held_out: Mean ELBO over the held-out rows, nats in data units.
    """

    steps: Annotated[tuple[Positive, ...], Meta(max_length=MOST_POINTS)]
    training: Annotated[tuple[float, ...], Meta(max_length=MOST_POINTS)]
    held_out: Annotated[tuple[float, ...], Meta(max_length=MOST_POINTS)]


class Candidate(Record):
    """One model that the search trained.

    Attributes:
        settings: The settings in which the candidates differ.
        criterion: Area under the ROC curve that separates held-out rows from the same rows with some cells replaced by
            those of other rows; None if there was only one candidate.
        held_out_elbo: Mean over held-out rows, nats in data units.
        chosen: Whether it is a member of the ensemble.
        curve: How its training went; None in bundles of before.
    """

    settings: dict[str, Any]
    criterion: float | None
    held_out_elbo: float
    chosen: bool
    curve: Curve | None = None


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


class ContrastRecord(Record):
    """A classifier that tells training images from others: see :mod:`anomaly_vae.density.contrast`.

    Attributes:
        against: What it was trained to tell them from, as texts.
        steps: Optimiser steps that were run.
        held_out_loss: Cross-entropy of held-out images and as many others, nats; log 2 if it tells nothing.
    """

    against: tuple[str, ...]
    steps: Positive
    held_out_loss: float


class Manifest(Record):
    """Everything in manifest.json.

    ``statistics`` are those of the calibration rows of a table, which the columns of new rows are compared with. None
    for series and images, and in bundles of before.
    """

    format_version: int = FORMAT_VERSION
    created_by: str
    created_at: str
    schema: Schema
    members: Annotated[tuple[MemberRecord, ...], Meta(min_length=1, max_length=16)]
    adjustment: Adjustment
    estimator: Estimator
    calibration: Calibration
    training: Training
    contrast: ContrastRecord | None = None
    statistics: RowStatistics | None = None
    files: dict[str, FileRecord]


def graph_names(num_members: int) -> tuple[str, ...]:
    """Return the file names of the graphs of all members."""
    return tuple(f"{graph}{member_suffix(m)}.onnx" for m in range(num_members) for graph in GRAPHS)


def member_suffix(member: int) -> str:
    """Return the end of the names of a member's graphs: empty for the first member, then -2, -3 and so on."""
    return f"-{member + 1}" if member else ""
