"""Rows in, bundle out: split, infer the columns, train, export, check, calibrate."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.files import Bundle, make_bundle
from anomaly_vae.bundle.golden import golden_samples
from anomaly_vae.bundle.manifest import Architecture, Estimator, Gate, Manifest, MemberRecord, Training
from anomaly_vae.bundle.members import open_members
from anomaly_vae.bundle.row_calibration import RowCalibration, calibrate_rows, usable_schema
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.adjustment import Adjustment
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.novelty import only_rare_categories, with_novelty_from_training
from anomaly_vae.columns.plan import model_rows, plan_schema
from anomaly_vae.columns.rows import check_names, check_not_infinite
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.split import Split, split_of
from anomaly_vae.columns.training_table import TrainingTable
from anomaly_vae.density.estimator import DensityEstimator, Precision
from anomaly_vae.density.member import Member
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.errors import InvalidInput
from anomaly_vae.training.checkpoint import Checkpoint, fingerprint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.data import load_rows
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.fit import FittedModel, network_sizes, resolve_config
from anomaly_vae.training.gates import check_onnx, run_gates
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.missing_cells import fit_adjustment
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.nonsense import flags_nonsense, nonsense_rows
from anomaly_vae.training.prune import prune_latents
from anomaly_vae.training.search import SearchResult, search
from anomaly_vae.training.starts import choose_extra_starts
from anomaly_vae.version import __version__

__all__ = ["MIN_ROWS", "TrainedModel", "train_model", "train_table"]

# Rows that training needs, at least: 7 to train, 1 to stop early and 2 to calibrate. Chosen, not measured.
MIN_ROWS = 10

# The standard error at which the sampling of a row ends, nats, and the most decoder evaluations of a row, as
# documented. The error is far below the spread of log p(x), which is 2 to 16 nats on ADBench tables.
_PRECISION = Precision(target_error=0.1, num_samples=4096)

# Noise scramblings, and points in each: they serve budgets up to 4,096.
_SCRAMBLINGS, _POINTS = 16, 256

# Share of normal rows, those with the lowest scores, that get the thorough search at once, at least, and the held-out
# rows, at most, that show where it lies. The share is twice the target rate of flags if that is more. Measured on 4
# ADBench tables: 80 to 100 % of the anomalies whose quick estimate is wrong have a lower score than 95 % of the normal
# rows.
_CAREFUL_SHARE, _CAREFUL_ROWS = 0.03, 2000

# Golden rows in the bundle; held-out rows, and samples of a row, in the comparison of ONNX and torch. Chosen, not
# measured: they bound the time of the checks, above all that of loading a bundle.
_GOLDEN_ROWS, _CHECKED_ROWS, _CHECKED_SAMPLES = 16, 32, 256


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
    if len(cells) < MIN_ROWS:
        raise InvalidInput(f"got n_samples={len(cells)} normal rows, training needs at least {MIN_ROWS}")
    check_names(tuple(each.name for each in table.inputs))
    check_not_infinite(cells, tuple(each.name for each in table.used_inputs))
    checkpoint = checkpoint or Checkpoint(None, resume=False)
    seed = secrets.randbits(32) if config.random_state is None else config.random_state
    split = split_of(len(cells), seed)
    fitting = np.concatenate([split.train, split.held_out])
    schema, findings = plan_schema(table, fitting, config.columns, label)
    (on_findings or _warn_left_out)(findings)
    rows = model_rows(schema, table, cells)
    schema = with_novelty_from_training(schema, rows[fitting], config.target_fpr)
    for caveat in only_rare_categories(schema):
        warn_caller(caveat)
    schema, demotions = usable_schema(schema, rows[split.calibration], config.target_fpr)
    prunes = config.latent_dim == "auto"
    config = resolve_config(replace(config, random_state=seed), schema, len(split.train))
    checkpoint.begin(fingerprint(rows, schema.column_names, config))
    result = search(config, schema, rows[split.train], rows[split.held_out], checkpoint, report)
    if prunes:
        result = replace(result, members=tuple(_pruned(each, rows[split.held_out], seed) for each in result.members))
    bundle = _BundleBuilder(config, schema, result, rows, split).build(demotions, on_calibrated)
    return TrainedModel(bundle=bundle, members=result.members, split=split)


def _warn_left_out(findings: Sequence[Finding]) -> None:
    left_out = [str(each) for each in findings if each.is_left_out]
    if left_out:
        warn_caller("; ".join(left_out))


def _pruned(member: FittedModel, held_out: FloatArray, seed: int) -> FittedModel:
    """Return the model without the latent dimensions that it does not use."""
    vae = prune_latents(member.vae, load_rows(member.features, held_out, torch.device("cpu")), seed)
    return replace(member, vae=vae, config=replace(member.config, latent_dim=vae.latent_dim))


class _BundleBuilder:
    """Exports, checks and calibrates trained models, and assembles their bundle."""

    def __init__(
        self, config: TrainConfig, schema: Schema, result: SearchResult, rows: FloatArray, split: Split
    ) -> None:
        self._config, self._schema, self._result, self._split = config, schema, result, split
        self._seed = int(config.random_state or 0)
        self._train, self._held_out, self._calibration = (
            rows[chosen] for chosen in (split.train, split.held_out, split.calibration)
        )
        self._records = tuple(map(_member_record, result.members))
        self._graphs = {
            name: data for m, member in enumerate(result.members) for name, data in export_graphs(member.vae, m).items()
        }
        latent_dim = max(record.architecture.latent_dim for record in self._records)
        self._noise = sobol_normal(_SCRAMBLINGS, _POINTS, latent_dim + 1, self._seed)
        members = open_members(schema, self._records, self._graphs)
        make_estimator = partial(_estimator, members, self._noise)
        self._extra_starts = choose_extra_starts(make_estimator, self._held_out, _PRECISION)
        self._estimator = make_estimator(self._extra_starts)

    def build(self, demotions: list[str], on_calibrated: Callable[[int], None] | None) -> Bundle:
        """Return the bundle; ``demotions`` are warnings about the novelty of the columns."""
        golden = sample_rows(self._estimator.members, _GOLDEN_ROWS, 0)
        onnx_error = self._check_onnx(golden)
        adjustment = fit_adjustment(self._estimator, self._train, self._calibration, _PRECISION, self._seed)
        careful_below = self._careful_below(adjustment)
        calibrated, gates = self._calibrate(adjustment, careful_below, demotions, on_calibrated)
        estimator = Estimator(
            **_PRECISION._asdict(),
            careful_below=careful_below,
            extra_starts=self._extra_starts,
            scramblings=_SCRAMBLINGS,
        )
        manifest = Manifest(
            created_by=f"anomaly_vae {__version__}",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            schema=calibrated.schema,
            members=self._records,
            adjustment=adjustment,
            estimator=estimator,
            calibration=calibrated.calibration,
            training=self._training_record(onnx_error, gates),
            files={},
        )
        return make_bundle(
            manifest,
            graphs=self._graphs,
            noise=self._noise,
            calibration=calibrated.scores,
            golden_rows=golden,
            golden_log_px=self._estimator.plain_log_px(golden, golden_samples(estimator)),
        )

    def _check_onnx(self, golden: FloatArray) -> float:
        """Compare ONNX with torch on golden and held-out rows; calibration rows stay unused before calibration."""
        checked = np.concatenate([golden, self._held_out[:_CHECKED_ROWS]])
        return check_onnx([member.vae for member in self._result.members], self._estimator, checked, _CHECKED_SAMPLES)

    def _careful_below(self, adjustment: Adjustment) -> float:
        """Return the score below which rows get the thorough search, from held-out rows."""
        rows = self._held_out[:_CAREFUL_ROWS]
        scores = self._scores(rows, adjustment)
        return float(np.quantile(scores, min(max(_CAREFUL_SHARE, 2.0 * self._config.target_fpr), 0.5)))

    def _calibrate(
        self,
        adjustment: Adjustment,
        careful_below: float,
        demotions: list[str],
        on_calibrated: Callable[[int], None] | None,
    ) -> tuple[RowCalibration, tuple[Gate, ...]]:
        """Score the calibration rows; return the calibration and the results of the gates."""
        missing = np.isnan(self._calibration[:, self._schema.modelled])
        limits = adjustment.backward(careful_below, missing)
        estimates = self._estimator.estimate(self._calibration, _PRECISION, careful_below=limits, on_rows=on_calibrated)
        scores = adjustment.forward(estimates.log_px, missing)
        calibrated = calibrate_rows(
            self._schema, self._calibration, scores, self._config.target_fpr, demotions=demotions
        )
        for text in calibrated.warnings:
            warn_caller(text)
        gates = run_gates(
            self._result.members,
            self._estimator,
            self._train,
            self._held_out,
            estimates,
            scores[calibrated.used & ~calibrated.lowest],
            precision=_PRECISION,
        )
        nonsense = nonsense_rows(self._schema, self._train, self._held_out)
        is_low = self._scores(nonsense, adjustment) < calibrated.calibration.threshold
        return calibrated, (*gates, flags_nonsense(is_low | self._schema.ranks_lowest(nonsense)))

    def _scores(self, rows: FloatArray, adjustment: Adjustment) -> FloatArray:
        missing = np.isnan(rows[:, self._schema.modelled])
        return adjustment.forward(self._estimator.estimate(rows, _PRECISION).log_px, missing)

    def _training_record(self, onnx_error: float, gates: tuple[Gate, ...]) -> Training:
        """Return the manifest's record of the training; its steps and ELBOs are those of the best model."""
        best = self._result.members[0]
        return Training(
            num_rows=len(self._split.train),
            num_held_out=len(self._split.held_out),
            steps=best.result.steps,
            best_step=best.result.best_step,
            held_out_elbo=best.result.held_out.elbo + best.elbo_offset,
            held_out_kl=best.result.held_out.kl,
            interrupted=self._result.interrupted,
            onnx_error=onnx_error,
            gates=gates,
            candidates=self._result.candidates,
            config=self._config.to_dict(),
            versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        )


def _estimator(members: list[Member], noise: NDArray[np.float32], extra_starts: int) -> DensityEstimator:
    return DensityEstimator(members, noise, extra_starts=extra_starts)


def _member_record(member: FittedModel) -> MemberRecord:
    """Return the manifest's entry of a model."""
    hidden, latent_dim = network_sizes(member.config)
    return MemberRecord(
        architecture=Architecture(latent_dim=latent_dim, hidden=hidden),
        prior=member.vae.prior.record(),
        columns=member.vae.head.column_models(),
    )
