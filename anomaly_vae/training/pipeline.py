"""Rows in, bundle out: split, transform, train, export, check, calibrate."""

from __future__ import annotations

import contextlib
import platform
import secrets
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import anomaly_vae
from anomaly_vae.bundle import Bundle, assemble
from anomaly_vae.calibration import calibrate, caveats
from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import AnomalyVaeError, ConfigError, InvalidInput
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.likelihood import GaussianLikelihood
from anomaly_vae.manifest import Architecture, Estimator, GaussianHead, Manifest, Training
from anomaly_vae.runtime import OnnxNetwork
from anomaly_vae.sampling import sample_rows
from anomaly_vae.schema import Schema, check_finite, check_names
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.gates import check_onnx
from anomaly_vae.training.loop import FitResult, Progress, fit
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.vae import VAE
from anomaly_vae.transforms import FAR, Standardise

__all__ = ["MIN_ROWS", "Split", "TrainedModel", "split_rows", "train_model"]

MIN_ROWS = 10

_MOST_SET_ASIDE = 20_000
_NUM_SAMPLES, _SCRAMBLINGS, _POINTS = 1024, 16, 256
_GOLDEN_ROWS, _CHECKED_ROWS = 16, 32
_SMALL_LAYER = 2**16


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row indices: 10 % early stopping and 20 % calibration, at most 20,000 each, and the rest training."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    calibration: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A bundle, the networks it was made from, and which of the given rows were used for what."""

    bundle: Bundle
    vae: VAE
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
    label: str | None = None,
    report: Callable[[Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train, export and calibrate a model on normal rows.

    Args:
        rows: Normal rows in data units, float64 (N, D), finite.
        names: Column names.
        config: Parameters.
        label: Name of the label column, to be ignored at scoring.
        report: Told about the training; its ELBOs are in data units.
        on_calibrated: Told how many more rows are scored for the calibration.

    Raises:
        InvalidInput: Too few rows, a missing or infinite value, or nothing to model.
        GateFailed: The exported networks do not compute what was trained.
    """
    if len(rows) < MIN_ROWS:
        raise InvalidInput(f"got n_samples={len(rows)} normal rows, training needs at least {MIN_ROWS}")
    check_names(names)
    check_finite(rows, names)
    seed = secrets.randbits(32) if config.random_state is None else config.random_state
    split = split_rows(len(rows), np.random.default_rng(seed))
    seen = rows[np.concatenate([split.train, split.held_out])]
    schema = Schema.infer(seen, names, label)
    transform = Standardise.fit(seen[:, schema.modelled], tuple(names[d] for d in schema.modelled))
    plan = _plan(config, seed, schema, transform)
    vae, result = _train(plan, rows[split.train], rows[split.held_out], _in_data_units(report, transform.log_abs_det))
    bundle = _export(plan, vae, result, rows, split, on_calibrated)
    return TrainedModel(bundle=bundle, vae=vae, split=split)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Everything decided before the first step: the parameters with nothing left to the data, schema, transform."""

    config: TrainConfig
    seed: int
    latent_dim: int
    hidden: tuple[int, ...]
    schema: Schema
    transform: Standardise


def _plan(config: TrainConfig, seed: int, schema: Schema, transform: Standardise) -> _Plan:
    columns = len(schema.modelled)
    width = 128 if columns <= 64 else 256 if columns <= 256 else 512
    latent_dim = min(16, max(1, columns // 2)) if config.latent_dim == "auto" else config.latent_dim
    hidden = (width, width) if config.hidden == "auto" else config.hidden
    return _Plan(
        config=replace(config, random_state=seed, latent_dim=latent_dim, hidden=hidden),
        seed=seed,
        latent_dim=latent_dim,
        hidden=hidden,
        schema=schema,
        transform=transform,
    )


def _train(
    plan: _Plan, train: FloatArray, held_out: FloatArray, report: Callable[[Progress], None] | None
) -> tuple[VAE, FitResult]:
    device = _device(plan.config.device)
    learned = plan.config.decoder_variance == "learned"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        vae = VAE(len(plan.schema.modelled), plan.hidden, plan.latent_dim, learned_variance=learned).to(device)
    generator = torch.Generator(device=device).manual_seed(plan.seed)
    try:
        with _compute_threads(vae, device):
            result = fit(
                vae, _inputs(plan, train, device), _inputs(plan, held_out, device), plan.config, generator, report
            )
    except FloatingPointError as error:
        raise AnomalyVaeError(f"training diverged: {error}; check the columns for extreme values") from error
    return vae.cpu().eval(), result


def _inputs(plan: _Plan, rows: FloatArray, device: torch.device) -> Tensor:
    """Rows in model units, far values cut, on the device."""
    y = np.clip(plan.transform.forward(rows[:, plan.schema.modelled]), -FAR, FAR)
    return torch.as_tensor(y, dtype=torch.float32).to(device)


def _export(
    plan: _Plan,
    vae: VAE,
    result: FitResult,
    rows: FloatArray,
    split: Split,
    on_calibrated: Callable[[int], None] | None,
) -> Bundle:
    schema, transform = plan.schema, plan.transform
    graphs = export_graphs(vae)
    noise = sobol_normal(_SCRAMBLINGS, _POINTS, plan.latent_dim, plan.seed)
    network = OnnxNetwork(graphs, latent_dim=plan.latent_dim, num_columns=len(schema.modelled))
    likelihood = GaussianHead(
        variance="learned" if vae.head.learned else "fixed", log_var=tuple(vae.head.log_var.detach().double().tolist())
    )
    estimator = DensityEstimator(
        network, noise, schema=schema, transform=transform, likelihood=GaussianLikelihood(likelihood.log_var)
    )
    golden = sample_rows(
        network, _GOLDEN_ROWS, 0, latent_dim=plan.latent_dim, schema=schema, transform=transform, likelihood=likelihood
    )
    calibration_rows = rows[split.calibration]
    checked = np.concatenate([golden, rows[split.held_out[:_CHECKED_ROWS]]])  # not the rows that set the threshold
    onnx_error = check_onnx(vae, estimator, checked, _NUM_SAMPLES)
    scores = estimator.estimate(calibration_rows, _NUM_SAMPLES, on_rows=on_calibrated).log_px
    calibration, sorted_scores = calibrate(scores, schema.is_novel(calibration_rows), plan.config.target_fpr)
    for caveat in caveats(calibration):
        warnings.warn(caveat, stacklevel=2)
    manifest = Manifest(
        created_by=f"anomaly_vae {anomaly_vae.__version__}",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=schema,
        transform=transform,
        architecture=Architecture(latent_dim=plan.latent_dim, hidden=plan.hidden),
        likelihood=likelihood,
        estimator=Estimator(num_samples=_NUM_SAMPLES, scramblings=_SCRAMBLINGS),
        calibration=calibration,
        training=_training_record(plan, result, split, onnx_error),
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


def _training_record(plan: _Plan, result: FitResult, split: Split, onnx_error: float) -> Training:
    return Training(
        num_rows=len(split.train),
        num_held_out=len(split.held_out),
        steps=result.steps,
        best_step=result.best_step,
        held_out_elbo=result.held_out.elbo + plan.transform.log_abs_det,
        held_out_kl=result.held_out.kl,
        interrupted=result.interrupted,
        onnx_error=onnx_error,
        config=plan.config.to_dict(),
        versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
    )


def _in_data_units(report: Callable[[Progress], None] | None, log_abs_det: float) -> Callable[[Progress], None] | None:
    if report is None:
        return None

    def translated(progress: Progress) -> None:
        held_out = progress.held_out
        report(
            progress._replace(
                loss=progress.loss - log_abs_det,
                held_out=held_out._replace(
                    elbo=held_out.elbo + log_abs_det, log_likelihood=held_out.log_likelihood + log_abs_det
                ),
                best_elbo=progress.best_elbo + log_abs_det,
            )
        )

    return translated


@contextlib.contextmanager
def _compute_threads(vae: VAE, device: torch.device) -> Iterator[None]:
    """One thread for small layers: splitting them costs more than it gains, far more where cores are busy."""
    before = torch.get_num_threads()
    small = max(parameter.numel() for parameter in vae.parameters()) < _SMALL_LAYER
    if device.type == "cpu" and small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        return device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0][:120]}") from error
