"""Rows in, bundle out: split, look, train, export, check, calibrate."""

from __future__ import annotations

import platform
import secrets
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray

import anomaly_vae
from anomaly_vae.bundle import Bundle, assemble
from anomaly_vae.calibration import calibrate, caveats
from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.kinds import infer_schema, recode
from anomaly_vae.manifest import Architecture, Estimator, Gate, Manifest, MemberRecord, Training
from anomaly_vae.member import open_members
from anomaly_vae.rows import check_names, check_not_infinite
from anomaly_vae.sampling import sample_rows
from anomaly_vae.schema import Schema
from anomaly_vae.training.checkpoint import Checkpoint, fingerprint
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.fitting import Fitted, resolved, sizes
from anomaly_vae.training.gates import check_onnx, run_gates
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.missing import fit_adjustment
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.search import Choice, search

__all__ = ["MIN_ROWS", "Split", "TrainedModel", "split_rows", "train_model"]

MIN_ROWS = 10

_MOST_SET_ASIDE = 20_000
_NUM_SAMPLES, _SCRAMBLINGS, _POINTS = 1024, 16, 256
_GOLDEN_ROWS, _CHECKED_ROWS, _CHECKED_SAMPLES = 16, 32, 256

# A stream of its own, so that the split is not that of a caller who shuffled with the same seed.
_SPLIT = 4


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row indices: 10 % early stopping and 20 % calibration, at most 20,000 each, and the rest training."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    calibration: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A bundle, the models it was made from, and which of the given rows were used for what."""

    bundle: Bundle
    members: tuple[Fitted, ...]
    split: Split


def split_rows(num_rows: int, rng: np.random.Generator) -> Split:
    """Split rows at random."""
    order = rng.permutation(num_rows)
    calibration = min(_MOST_SET_ASIDE, max(1, round(0.2 * num_rows)))
    held_out = min(_MOST_SET_ASIDE, max(1, round(0.1 * num_rows)))
    return Split(
        calibration=order[:calibration],
        held_out=order[calibration : calibration + held_out],
        train=order[calibration + held_out :],
    )


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
    """Train, export and calibrate a model on normal rows.

    Args:
        rows: Normal rows in data units, float64 (N, D), NaN where a cell is missing; text columns hold indices.
        names: Column names.
        config: Parameters.
        categories: The texts of the text columns, by name.
        label: Name of the label column, to be ignored at scoring.
        checkpoint: Where to keep the run, and go on from.
        report: Told about the training of each model; its ELBOs are in data units.
        on_calibrated: Told how many more rows are scored for the calibration.

    Raises:
        InvalidInput: Too few rows, an infinite value, or nothing to model.
        GateFailed: The exported networks do not compute what was trained.
    """
    if len(rows) < MIN_ROWS:
        raise InvalidInput(f"got n_samples={len(rows)} normal rows, training needs at least {MIN_ROWS}")
    check_names(names)
    check_not_infinite(rows, names)
    categories, checkpoint = categories or {}, checkpoint or Checkpoint(None, resume=False)
    seed = secrets.randbits(32) if config.random_state is None else config.random_state
    split = split_rows(len(rows), np.random.default_rng([seed, _SPLIT]))
    seen = rows[np.concatenate([split.train, split.held_out])]
    schema = infer_schema(seen, names, categories=categories, kinds=config.columns, label=label)
    rows = recode(rows, schema, categories)
    config = resolved(replace(config, random_state=seed), schema)
    checkpoint.begin(fingerprint(rows, names, config))
    choice = search(config, schema, rows[split.train], rows[split.held_out], checkpoint, report)
    bundle = _Release(config, schema, choice, rows, split, on_calibrated).bundle()
    return TrainedModel(bundle=bundle, members=choice.members, split=split)


class _Release:
    """From trained models to a bundle."""

    def __init__(
        self,
        config: TrainConfig,
        schema: Schema,
        choice: Choice,
        rows: FloatArray,
        split: Split,
        on_calibrated: Callable[[int], None] | None,
    ) -> None:
        self._config, self._schema, self._choice = config, schema, choice
        self._rows, self._split, self._on_calibrated = rows, split, on_calibrated
        self._seed = int(config.random_state or 0)

    def bundle(self) -> Bundle:
        """Export, check, calibrate and put together."""
        members = self._choice.members
        records = tuple(
            MemberRecord(
                architecture=Architecture(latent_dim=latent_dim, hidden=hidden), columns=m.vae.head.column_models()
            )
            for m in members
            for hidden, latent_dim in [sizes(m.config)]
        )
        graphs = {name: data for m, member in enumerate(members) for name, data in export_graphs(member.vae, m).items()}
        latent_dim = max(record.architecture.latent_dim for record in records)
        noise = sobol_normal(_SCRAMBLINGS, _POINTS, latent_dim, self._seed)
        estimator = DensityEstimator(open_members(self._schema, records, graphs), noise)
        golden = sample_rows(estimator.members, _GOLDEN_ROWS, 0)
        split = (self._split.train, self._split.held_out, self._split.calibration)
        train, held_out, calibration_rows = (self._rows[chosen] for chosen in split)
        checked = np.concatenate([golden, held_out[:_CHECKED_ROWS]])  # not the rows that set the threshold
        onnx_error = check_onnx([member.vae for member in members], estimator, checked, _CHECKED_SAMPLES)
        adjustment = fit_adjustment(estimator, train, calibration_rows, _NUM_SAMPLES, self._seed)
        estimates = estimator.estimate(calibration_rows, _NUM_SAMPLES, on_rows=self._on_calibrated)
        missing = np.isnan(calibration_rows[:, self._schema.modelled])
        scores = adjustment.forward(estimates.log_px, missing)
        novel = self._schema.is_novel(calibration_rows)
        told = novel | ~missing.all(axis=1)
        if not told.any():
            raise InvalidInput("every calibration row has all its cells missing; leave empty rows out of training")
        calibration, sorted_scores = calibrate(scores[told], novel[told], self._config.target_fpr)
        for caveat in caveats(calibration):
            warnings.warn(caveat, stacklevel=2)
        gates = run_gates(
            members, estimator, train, held_out, estimates, scores[told & ~novel], num_samples=_NUM_SAMPLES
        )
        manifest = Manifest(
            created_by=f"anomaly_vae {anomaly_vae.__version__}",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            schema=self._schema,
            members=records,
            adjustment=adjustment,
            estimator=Estimator(num_samples=_NUM_SAMPLES, scramblings=_SCRAMBLINGS),
            calibration=calibration,
            training=self._training_record(onnx_error, gates),
            files={},
        )
        return assemble(
            manifest,
            graphs=graphs,
            noise=noise,
            calibration=sorted_scores,
            golden_rows=golden,
            golden_log_px=estimator.plain_log_px(golden, _NUM_SAMPLES),
        )

    def _training_record(self, onnx_error: float, gates: tuple[Gate, ...]) -> Training:
        best = self._choice.members[0]
        return Training(
            num_rows=len(self._split.train),
            num_held_out=len(self._split.held_out),
            steps=best.result.steps,
            best_step=best.result.best_step,
            held_out_elbo=best.result.held_out.elbo + best.base,
            held_out_kl=best.result.held_out.kl,
            interrupted=self._choice.interrupted,
            onnx_error=onnx_error,
            gates=gates,
            candidates=self._choice.candidates,
            config=self._config.to_dict(),
            versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        )
