"""Rows in, bundle out: split, infer the columns, train, export, check, calibrate."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.files import Bundle
from anomaly_vae.bundle.row_calibration import usable_schema
from anomaly_vae.calibration import sides
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.novelty import only_rare_categories, with_novelty_from_training
from anomaly_vae.columns.plan import model_rows, plan_schema
from anomaly_vae.columns.rows import check_names, check_not_infinite
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.split import Split, split_of
from anomaly_vae.columns.training_table import TrainingTable
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.training.bundle_builder import BundleBuilder, Thin
from anomaly_vae.training.checkpoint import Checkpoint, fingerprint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.data import load_rows
from anomaly_vae.training.fit import FittedModel, resolve_config
from anomaly_vae.training.group import Group, LeftToLead, current_group
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.prune import prune_latents
from anomaly_vae.training.row_source import Parts, RowSource, parts_of, typical
from anomaly_vae.training.search import search

__all__ = ["MIN_ROWS", "TrainedModel", "train_model", "train_rows", "train_table", "with_seed"]

# Rows that training needs, at least: 7 to train, 1 to stop early and 2 to calibrate. Chosen, not measured.
MIN_ROWS = 10

# Held-out rows whose bytes tell one run from another, if not all rows are in memory. Chosen, not measured.
_FINGERPRINT_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The result of :func:`train_model`.

    Attributes:
        bundle: The bundle to write or score with.
        members: The models in it.
        split: Which rows trained, stopped and calibrated it.
    """

    bundle: Bundle
    members: tuple[FittedModel, ...]
    split: Split


def train_model(
    rows: FloatArray,
    names: tuple[str, ...],
    config: TrainConfig,
    *,
    categories: Mapping[str, tuple[str, ...]] | None = None,
    label: str | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[str, Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train on rows of plain numbers and of indices of texts; see :func:`train_table`.

    Args:
        rows: Normal rows in data units, float64 (N, D), NaN where a cell is missing; text columns hold indices.
        names: Column names.
        config: Parameters.
        categories: The texts of the text columns, by name.
        label, checkpoint, report, on_calibrated: As for :func:`train_table`.
    """
    return train_table(
        TrainingTable.of_numbers(rows, names, categories),
        config,
        label=label,
        checkpoint=checkpoint,
        report=report,
        on_calibrated=on_calibrated,
    )


def train_table(
    table: TrainingTable,
    config: TrainConfig,
    *,
    label: str | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[str, Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
    on_findings: Callable[[Sequence[Finding]], None] | None = None,
) -> TrainedModel:
    """Train, export and calibrate a model on normal rows.

    Args:
        table: The normal rows.
        config: Parameters.
        label: Name of the label column; scoring ignores it.
        checkpoint: Saves the run, and continues a saved one; None saves nothing.
        report: Called with the title of a model and its progress, ELBOs in data units.
        on_calibrated: Called with the number of calibration rows scored since its last call.
        on_findings: Called before the training with what the user should know about the columns. None issues one
            warning about the columns that are left out.

    Raises:
        InvalidInput: Too few rows, an infinite value, or no column to model.
        GateFailed: The exported networks differ from the trained ones.
    """
    cells = table.rows
    _refuse_convolutions(config)
    _check_enough(len(cells))
    check_names(tuple(each.name for each in table.inputs))
    check_not_infinite(cells, tuple(each.name for each in table.used_inputs))
    config = with_seed(config)
    split = split_of(len(cells), int(config.random_state or 0))
    fitting = np.concatenate([split.train, split.held_out])
    schema, findings = plan_schema(table, fitting, config.columns, label)
    (on_findings or _warn_left_out)(findings)
    rows = model_rows(schema, table, cells)
    share = config.target_fpr / sides(config.tail_for(schema.kind))
    schema = with_novelty_from_training(schema, rows[fitting], share)
    for caveat in only_rare_categories(schema):
        warn_caller(caveat)
    return train_rows(rows, schema, split, config, checkpoint=checkpoint, report=report, on_calibrated=on_calibrated)


def train_rows(
    rows: FloatArray | RowSource,
    schema: Schema,
    split: Split,
    config: TrainConfig,
    *,
    thin: Thin | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[str, Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train, export and calibrate a model on normal rows whose columns are planned.

    Args:
        rows: Rows in data units, float64 (N, D), NaN where a cell is missing, or a source that reads them.
        schema: The columns.
        split: Which rows train, stop and calibrate the model.
        config: Parameters with a seed.
        thin: Chooses the calibration rows that count by their scores, if rows depend on each other.
        checkpoint, report, on_calibrated: As for :func:`train_table`.

    Raises:
        InvalidInput: Processes of the :func:`~anomaly_vae.training.group.current_group` have different rows.
        GateFailed: The exported networks differ from the trained ones.
    """
    _check_enough(len(split.train) + len(split.held_out) + len(split.calibration))
    checkpoint = checkpoint or Checkpoint(None, resume=False)
    tail, prunes = config.tail_for(schema.kind), config.latent_dim == "auto"
    parts = parts_of(rows, split)
    contrast = config.has_contrast(schema.kind, len(split.train))
    schema, demotions = usable_schema(
        schema, parts.calibration, config.target_fpr, tail=tail, contrast=contrast, dependent=thin is not None
    )
    config = replace(config, tail=tail, contrast="on" if contrast else "off")
    config = resolve_config(config, schema, len(split.train))
    digest, group = _fingerprint(rows, parts, schema, config), current_group()
    _refuse_differences(group, digest)
    checkpoint.begin(digest)
    result = search(config, schema, parts.train, parts.held_out, checkpoint, report, group)
    if prunes:
        seed = int(config.random_state or 0)
        result = replace(result, members=tuple(_pruned(each, parts.held_out, seed) for each in result.members))
    builder = BundleBuilder(config, schema, result, parts, thin)
    if contrast:
        builder.fit_contrast(report)
    bundle = builder.build(demotions, on_calibrated)
    return TrainedModel(bundle=bundle, members=result.members, split=split)


def with_seed(config: TrainConfig) -> TrainConfig:
    """Return parameters with a seed, a random one if there is none."""
    seed = secrets.randbits(32) if config.random_state is None else config.random_state
    return replace(config, random_state=seed)


def _fingerprint(rows: FloatArray | RowSource, parts: Parts, schema: Schema, config: TrainConfig) -> str:
    """Return the digest of a run; of rows that are not in memory, those that are in memory count."""
    if isinstance(rows, np.ndarray):
        return fingerprint(rows, schema.column_names, config)
    known = np.concatenate([typical(parts.train), parts.held_out[:_FINGERPRINT_ROWS]])
    return fingerprint(known, (*schema.column_names, f"{len(rows)} rows"), config)


def _refuse_differences(group: Group, digest: str) -> None:
    """Raise InvalidInput in process 0, and LeftToLead in others, if processes have other rows or parameters."""
    digests = group.everyone(digest)
    for rank, other in enumerate(digests):
        if other != digests[0]:
            if not group.is_lead:
                raise LeftToLead
            raise InvalidInput(
                f"process {rank} has other rows, parameters or another torch than process 0: copy the same INPUT and "
                "install the same versions on all machines"
            )


def _refuse_convolutions(config: TrainConfig) -> None:
    """Raise ConfigError if the parameters are of networks that a table cannot have."""
    if config.architecture in ("conv1d", "conv2d"):
        what = "images" if config.architecture == "conv2d" else "windows of time series"
        raise ConfigError(f"architecture {config.architecture!r} is for {what}, and the data are rows of a table")
    if config.residual or config.dropout:
        raise ConfigError("residual and dropout are for convolutions, and the data are rows of a table")


def _check_enough(num_rows: int) -> None:
    if num_rows < MIN_ROWS:
        raise InvalidInput(f"got n_samples={num_rows} normal rows, training needs at least {MIN_ROWS}")


def _warn_left_out(findings: Sequence[Finding]) -> None:
    left_out = [str(each) for each in findings if each.is_left_out]
    if left_out:
        warn_caller("; ".join(left_out))


def _pruned(member: FittedModel, held_out: FloatArray, seed: int) -> FittedModel:
    """Return the model without the latent dimensions that it does not use."""
    vae = prune_latents(member.vae, load_rows(member.features, held_out, torch.device("cpu")), seed)
    return replace(member, vae=vae, config=replace(member.config, latent_dim=vae.latent_dim))
