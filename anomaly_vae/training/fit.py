"""Train one model: plan the columns, build the networks, run the training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import AnomalyVaeError, ConfigError
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.columns import plan_columns
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.data import BATCH_SIZE, Streamed, load_rows
from anomaly_vae.training.defaults import plan_of, resolve_convolutions
from anomaly_vae.training.folding import folded
from anomaly_vae.training.group import Group
from anomaly_vae.training.history import Point
from anomaly_vae.training.loop import Evaluation, FitResult, Progress, TrainingLoop
from anomaly_vae.training.row_source import LazyRows, Rows, typical
from anomaly_vae.training.tails import with_tails
from anomaly_vae.training.vae import VAE

__all__ = ["FittedModel", "fit_model", "from_checkpoint", "network_sizes", "resolve_config", "to_checkpoint"]

# Weights in a layer below which torch computes with one thread. It lies above the layers of the default width for up to
# 64 columns (128 x 128), and at those of the next width (256 x 256). Chosen, not measured.
_SMALL_LAYER = 2**16

# Steps for each training row, and their limits. Measured on 19 ADBench tables, against 1.5 steps a row (900 to 6,000):
# the mean AUROC is 0.004 higher and the mean average precision 0.013. With 4 (2,000 to 12,000), they are the same
# within 0.002: skin, donors and Wilt gain, thyroid and mammography lose.
_STEPS_PER_ROW, _LEAST_STEPS, _MOST_STEPS = 2.5, 2000, 8000

# Share of these steps without a search, which is the quick option. Chosen, not measured.
_QUICK_SHARE = 0.5

# Components of the prior, at most, and the training rows that each of them should have. Chosen, not measured.
_MOST_COMPONENTS, _ROWS_PER_COMPONENT = 32, 16

# Held-out rows that are encoded at once. Chosen, not measured.
_OFFSET_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A trained model.

    Attributes:
        config: Its parameters, with all sizes resolved.
        vae: The networks, on the CPU.
        features: Converts rows to the inputs of the networks.
        result: The result of the training loop; its ELBOs are in model units.
        elbo_offset: Mean over the held-out rows of the term that converts an ELBO to data units; add it. Nats.
    """

    config: TrainConfig
    vae: VAE
    features: Features
    result: FitResult
    elbo_offset: float


def resolve_config(config: TrainConfig, schema: Schema, num_rows: int) -> TrainConfig:
    """Return the parameters with everything that is "auto" chosen by the number of columns and of training rows.

    The widths and latent dimensions are chosen, not measured one by one. On the 16 ADBench tables, networks twice as
    wide with 5,000 steps raised the held-out likelihood, but hardly the AUROC.
    """
    columns = len(schema.modelled)
    if config.architecture != "mlp" and schema.shape is not None:
        config = resolve_convolutions(config, schema.shape, num_rows)
    width = 128 if columns <= 64 else 256 if columns <= 256 else 512
    latent_dim = min(16, columns) if config.latent_dim == "auto" else config.latent_dim
    steps = min(max(round(_STEPS_PER_ROW * num_rows), _LEAST_STEPS), _MOST_STEPS)
    steps = round(_QUICK_SHARE * steps) if config.search == "off" else steps
    prior = "normal" if config.free_bits > 0.0 else "mixture"
    return replace(
        config,
        architecture="mlp" if config.architecture == "auto" else config.architecture,
        decoder_variance="learned" if config.decoder_variance == "auto" else config.decoder_variance,
        latent_dim=latent_dim,
        hidden=(width, width) if config.hidden == "auto" else config.hidden,
        prior=prior if config.prior == "auto" else config.prior,
        max_steps=steps if config.max_steps == "auto" else config.max_steps,
    )


def fit_model(
    config: TrainConfig,
    schema: Schema,
    train: Rows,
    held_out: FloatArray,
    checkpoint: Checkpoint,
    report: Callable[[Progress], None] | None = None,
    group: Group | None = None,
) -> FittedModel:
    """Train one model, from the start or from the state in the checkpoint.

    Args:
        config: Parameters from :func:`resolve_config`, with a seed.
        schema: The columns.
        train, held_out: Rows in data units, NaN where a cell is missing. Training rows may be read batch by batch; the
            columns are then planned by a sample.
        checkpoint: Has the state to continue from, if any; receives new states.
        report: Called with the progress at each evaluation, ELBOs in data units.
        group: The processes that train the model; all of them have the same arguments.

    Raises:
        AnomalyVaeError: The training diverged.
        ConfigError: The device, or the parameters, do not fit the group.
    """
    group = group or Group()
    _check_group(config, group, len(train))
    columns = plan_columns(schema, np.concatenate([typical(train), held_out]), config)
    device, seed = _device(config.device, group), int(config.random_state or 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = _networks(config, schema, columns, len(train)).to(device)
    features = Features(schema, columns)
    known, held_out_rows = load_rows(features, typical(train), device), load_rows(features, held_out, device)
    offset = _elbo_offset(vae, features, held_out)
    vae.init_from_marginals(*known)
    rows = Streamed(features, train, device) if isinstance(train, LazyRows) else known
    del known
    loop = TrainingLoop(vae, rows, held_out_rows, config, torch.Generator(device=device).manual_seed(seed), group)
    if checkpoint.running is not None:
        loop.restore(checkpoint.running)
        checkpoint.running = None
    try:
        with _compute_threads(vae, device):
            result = loop.run(_in_data_units(report, offset), lambda: checkpoint.save(loop.state))
    except FloatingPointError as error:
        raise AnomalyVaeError(f"training diverged: {error}; check the columns for extreme values") from error
    return _fitted(config, schema, vae, result, train, held_out)


def _networks(config: TrainConfig, schema: Schema, columns: Sequence[ColumnModel], num_rows: int) -> VAE:
    """Return networks with random weights."""
    return VAE(columns, *network_sizes(config), _components(config, num_rows), plan_of(config, schema.shape))


def network_sizes(config: TrainConfig) -> tuple[tuple[int, ...], int]:
    """Return the hidden widths and the number of latent dimensions of resolved parameters."""
    return tuple(int(width) for width in config.hidden), int(config.latent_dim)


def _components(config: TrainConfig, num_rows: int) -> int:
    """Return the number of components of a mixture prior; 0 for N(0, I)."""
    return min(_MOST_COMPONENTS, max(num_rows // _ROWS_PER_COMPONENT, 1)) if config.prior == "mixture" else 0


def from_checkpoint(
    config: TrainConfig, schema: Schema, train: Rows, held_out: FloatArray, saved: dict[str, Any]
) -> FittedModel:
    """Rebuild a finished model from a checkpoint, without training."""
    columns = plan_columns(schema, np.concatenate([typical(train), held_out]), config)
    vae = _networks(replace(config, normalisation="none"), schema, columns, len(train))  # it is folded
    vae.load_state_dict(saved["state"])
    steps, best_step, best = saved["result"]
    interrupted = bool(saved.get("interrupted"))
    result = FitResult(
        steps=steps,
        best_step=best_step,
        held_out=Evaluation(*best),
        interrupted=interrupted,
        history=tuple(Point(*point) for point in saved.get("history", ())),
    )
    return _fitted(config, schema, vae, result, train, held_out)


def to_checkpoint(fitted: FittedModel) -> dict[str, Any]:
    """Return what :func:`from_checkpoint` needs to rebuild the model."""
    result = fitted.result
    return {
        "state": fitted.vae.state_dict(),
        "result": [result.steps, result.best_step, list(result.held_out)],
        "interrupted": result.interrupted,
        "history": [list(point) for point in result.history],
    }


def _fitted(
    config: TrainConfig, schema: Schema, vae: VAE, result: FitResult, train: Rows, held_out: FloatArray
) -> FittedModel:
    vae = vae.cpu().eval()
    vae.encoder.net, vae.decoder = folded(vae.encoder.net), folded(vae.decoder)
    vae.head.columns = with_tails(vae, schema, np.concatenate([typical(train), held_out]))
    features = Features(schema, vae.head.column_models())
    return FittedModel(
        config=config,
        vae=vae,
        features=features,
        result=result,
        elbo_offset=_elbo_offset(vae, features, held_out),
    )


def _elbo_offset(vae: VAE, features: Features, rows: FloatArray) -> float:
    """Return the mean of log p in data units minus log p as the loop computes it, nats.

    The loop's values already include the base of the heads, so that part is left out.
    """
    device, offsets = next(vae.parameters()).device, []
    for start in range(0, len(rows), _OFFSET_ROWS):
        inputs = features.encode(rows[start : start + _OFFSET_ROWS])
        x, mask = (torch.as_tensor(values, dtype=torch.float32, device=device) for values in (inputs.x, inputs.mask))
        with torch.no_grad():
            offsets.append(inputs.base - vae.head.base(x, mask).double().cpu().numpy())
    return float(np.concatenate(offsets).mean())


def _in_data_units(report: Callable[[Progress], None] | None, offset: float) -> Callable[[Progress], None] | None:
    """Wrap a callback, so that it receives ELBOs in data units."""
    if report is None:
        return None

    def report_in_data_units(progress: Progress) -> None:
        held_out = progress.held_out
        report(
            progress._replace(
                loss=progress.loss - offset,
                held_out=held_out._replace(
                    elbo=held_out.elbo + offset, log_likelihood=held_out.log_likelihood + offset
                ),
                best_elbo=progress.best_elbo + offset,
            )
        )

    return report_in_data_units


@contextlib.contextmanager
def _compute_threads(vae: VAE, device: torch.device) -> Iterator[None]:
    """Compute small layers on one thread: there, a split costs more than it saves, above all on busy cores."""
    before = torch.get_num_threads()
    small = max(parameter.numel() for parameter in vae.parameters()) < _SMALL_LAYER
    if device.type == "cpu" and small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_group(config: TrainConfig, group: Group, num_rows: int) -> None:
    """Raise ConfigError if so many processes cannot train this model."""
    if group.count > (most := min(BATCH_SIZE, num_rows)):
        raise ConfigError(f"{group.count} processes share batches of {most} rows: start {most} processes at most")
    if group.count > 1 and config.normalisation == "batch":
        raise ConfigError(
            "normalisation 'batch' needs all rows of a batch in one process: use 'none', or start without torchrun"
        )


def _device(name: str, group: Group) -> torch.device:
    """Return the torch device; raise ConfigError if it cannot hold an array, or not serve one process of a group."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if group.local_rank is not None:
        name = _own_device(name, group.local_rank)
    try:
        device = torch.empty(0, device=name).device
        if device.type == "meta":
            raise RuntimeError("it stores no numbers")
        return device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0][:120]}") from error


def _own_device(name: str, local_rank: int) -> str:
    """Return the device of this process among those of its machine: each has its own GPU."""
    if name == "cpu":
        return name
    if name != "cuda":
        raise ConfigError(f"device {name!r} cannot be shared by processes of torchrun; use 'auto', 'cpu' or 'cuda'")
    if local_rank >= (gpus := torch.cuda.device_count()):
        raise ConfigError(
            f"no GPU is left for process {local_rank + 1} of this machine, it has {gpus}: use --nproc-per-node "
            f"{gpus}, or --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"
