"""Rows in, bundle out: split, transform, train, export, check, calibrate."""

from __future__ import annotations

import contextlib
import math
import platform
import secrets
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray

import anomaly_vae
from anomaly_vae.bundle import Bundle, assemble
from anomaly_vae.calibration import calibrate, rows_needed, threshold_rank
from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import AnomalyVaeError, ConfigError, GateFailed, InvalidInput
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.importance import importance_log_prob
from anomaly_vae.manifest import Architecture, Estimator, GaussianHead, Manifest, Training
from anomaly_vae.runtime import OnnxNetwork
from anomaly_vae.sampling import sample_rows
from anomaly_vae.schema import Schema, check_finite
from anomaly_vae.scorer import GOLDEN_TOLERANCE
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.loop import FitResult, Progress, fit
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.vae import VAE
from anomaly_vae.transforms import Standardise

__all__ = ["MIN_ROWS", "Split", "TrainedModel", "split_rows", "train_model"]

MIN_ROWS = 10

_MOST_CALIBRATION = 20_000
_NUM_SAMPLES, _SCRAMBLINGS, _POINTS = 1024, 16, 256
_GOLDEN_ROWS, _CHECKED_ROWS = 16, 32
_SMALL_LAYER = 2**16


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row indices: 70 % training, 10 % early stopping, 20 % (at most 20,000) calibration."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]
    calibration: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A bundle, and which of the given rows were used for what."""

    bundle: Bundle
    split: Split


def split_rows(num_rows: int, rng: np.random.Generator) -> Split:
    """Split rows at random."""
    order = rng.permutation(num_rows)
    calibration = min(_MOST_CALIBRATION, max(1, round(0.2 * num_rows)))
    held_out = min(_MOST_CALIBRATION, max(1, round(0.1 * num_rows)))
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
) -> TrainedModel:
    """Train, export and calibrate a model on normal rows.

    Args:
        rows: Normal rows in data units, float64 (N, D), finite.
        names: Column names.
        config: Parameters.
        label: Name of the label column, to be ignored at scoring.
        report: Told about progress; its ELBOs are in data units.

    Raises:
        InvalidInput: Too few rows, a missing or infinite value, or nothing to model.
        GateFailed: The exported networks do not compute what was trained.
    """
    if len(rows) < MIN_ROWS:
        raise InvalidInput(f"got {len(rows)} normal rows, training needs at least {MIN_ROWS}")
    check_finite(rows, names)
    seed = secrets.randbits(32) if config.random_state is None else int(config.random_state)
    config = _resolved(config, seed)
    split = split_rows(len(rows), np.random.default_rng(seed))
    seen = rows[np.concatenate([split.train, split.held_out])]
    schema = Schema.infer(seen, names, label)
    modelled = schema.modelled
    config = _sized(config, len(modelled))
    transform = Standardise.fit(seen[:, modelled], tuple(names[d] for d in modelled))
    vae, result = _train(
        transform.forward(rows[split.train][:, modelled]),
        transform.forward(rows[split.held_out][:, modelled]),
        config,
        _in_data_units(report, transform.log_abs_det),
    )
    bundle = _export(vae.cpu().eval(), result, rows, split, schema, transform, config)
    return TrainedModel(bundle=bundle, split=split)


def _train(
    train: FloatArray, held_out: FloatArray, config: TrainConfig, report: Callable[[Progress], None] | None
) -> tuple[VAE, FitResult]:
    device = _device(config.device)
    seed = _int(config.random_state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = VAE(
            train.shape[1],
            _widths(config),
            _int(config.latent_dim),
            learned_variance=config.decoder_variance == "learned",
        ).to(device)
    generator = torch.Generator(device=device).manual_seed(seed)
    seen, unseen = (torch.as_tensor(rows, dtype=torch.float32).to(device) for rows in (train, held_out))
    try:
        with _compute_threads(vae, device):
            return vae, fit(vae, seen, unseen, config, generator, report)
    except FloatingPointError as error:
        raise AnomalyVaeError(f"training diverged: {error}; check the columns for extreme values") from error


def _export(
    vae: VAE,
    result: FitResult,
    rows: FloatArray,
    split: Split,
    schema: Schema,
    transform: Standardise,
    config: TrainConfig,
) -> Bundle:
    latent_dim = vae.latent_dim
    graphs = export_graphs(vae)
    noise = sobol_normal(_SCRAMBLINGS, _POINTS, latent_dim, _int(config.random_state))
    network = OnnxNetwork(graphs, latent_dim=latent_dim, num_columns=len(schema.modelled))
    estimator = DensityEstimator(network, noise, schema=schema, transform=transform)
    likelihood = GaussianHead(
        variance="learned" if vae.head.learned else "fixed", log_var=tuple(vae.head.log_var.detach().double().tolist())
    )
    golden = sample_rows(
        network, _GOLDEN_ROWS, 0, latent_dim=latent_dim, schema=schema, transform=transform, likelihood=likelihood
    )
    calibration_rows = rows[split.calibration]
    checked = np.concatenate([golden, calibration_rows[:_CHECKED_ROWS]])
    onnx_error = _onnx_error(vae, estimator, checked, noise)
    if not onnx_error <= GOLDEN_TOLERANCE:
        raise GateFailed(
            f"log p(x) from ONNX differs from torch in float64 by {onnx_error:.2g}, at most {GOLDEN_TOLERANCE:g} is "
            "allowed; the decoder's variances may be too small for float32"
        )
    scores = estimator.estimate(calibration_rows, _NUM_SAMPLES).log_px
    novel = schema.is_novel(calibration_rows)
    _warn_if_few(len(scores), config.target_fpr)
    calibration, sorted_scores = calibrate(scores, novel, config.target_fpr)
    manifest = Manifest(
        created_by=f"anomaly_vae {anomaly_vae.__version__}",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=schema,
        transform=transform,
        architecture=Architecture(latent_dim=latent_dim, hidden=_widths(config)),
        likelihood=likelihood,
        estimator=Estimator(num_samples=_NUM_SAMPLES, scramblings=_SCRAMBLINGS),
        calibration=calibration,
        training=_training_record(result, split, transform, config, onnx_error),
        files={},
    )
    return assemble(
        manifest,
        graphs=graphs,
        noise=noise,
        calibration=sorted_scores,
        golden_rows=golden,
        golden_log_px=estimator.estimate(golden, _NUM_SAMPLES).log_px,
    )


def _onnx_error(vae: VAE, estimator: DensityEstimator, rows: FloatArray, noise: NDArray[np.float32]) -> float:
    """Largest difference of log p(x) between the estimator and torch in float64, relative to max(1, |log p(x)|)."""
    exact = log_px_in_float64(vae, estimator, rows, noise[:, : _NUM_SAMPLES // _SCRAMBLINGS])
    actual = estimator.estimate(rows, _NUM_SAMPLES).log_px
    return float(np.max(np.abs(actual - exact) / np.maximum(1.0, np.abs(exact))))


@torch.no_grad()
def log_px_in_float64(
    vae: VAE, estimator: DensityEstimator, rows: FloatArray, noise: NDArray[np.float32]
) -> FloatArray:
    """The estimator's log p(x) from the trained weights themselves, with torch, in float64, shape (N,)."""
    vae = VAE.in_float64(vae)
    x = torch.as_tensor(estimator.transform.forward(rows[:, estimator.schema.modelled]))
    mask, points = torch.ones_like(x), torch.as_tensor(noise.astype(np.float64)).flatten(0, 1)
    loc, log_var = vae.encoder(x, mask)
    scale = torch.exp(0.5 * log_var)
    log_q = -0.5 * (math.log(2.0 * math.pi) + points**2).sum(-1) - torch.log(scale).sum(-1, keepdim=True)
    log_weights = (vae.log_joint(x, mask, loc, scale, points) - log_q).numpy()
    return importance_log_prob(log_weights[:, None, :]) + estimator.transform.log_abs_det


def _training_record(
    result: FitResult, split: Split, transform: Standardise, config: TrainConfig, onnx_error: float
) -> Training:
    return Training(
        num_rows=len(split.train),
        num_held_out=len(split.held_out),
        steps=result.steps,
        best_step=result.best_step,
        held_out_elbo=result.held_out.elbo + transform.log_abs_det,
        held_out_kl=result.held_out.kl,
        interrupted=result.interrupted,
        onnx_error=onnx_error,
        config=config.to_dict(),
        versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
    )


def _warn_if_few(num_calibration: int, target_fpr: float) -> None:
    if threshold_rank(num_calibration, target_fpr) == 0:
        warnings.warn(
            f"{num_calibration} calibration rows are too few for target_fpr {target_fpr:g}, which needs "
            f"n >= {rows_needed(target_fpr)}; the threshold is the lowest of their scores, the effective target "
            f"{1 / (num_calibration + 1):.3g}",
            stacklevel=2,
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


def _resolved(config: TrainConfig, seed: int) -> TrainConfig:
    return replace(config, random_state=seed)


def _sized(config: TrainConfig, num_columns: int) -> TrainConfig:
    """Fill in the sizes left to the data."""
    width = 128 if num_columns <= 64 else 256 if num_columns <= 256 else 512
    return replace(
        config,
        latent_dim=min(16, max(1, num_columns // 2)) if config.latent_dim == "auto" else config.latent_dim,
        hidden=(width, width) if config.hidden == "auto" else config.hidden,
    )


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
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"unresolved parameter {value!r}")
    return value


def _widths(config: TrainConfig) -> tuple[int, ...]:
    if config.hidden == "auto":
        raise TypeError("unresolved parameter hidden")
    return config.hidden
