"""Which models to train, and which of them to score with, by a criterion that needs no labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.manifest import Candidate
from anomaly_vae.schema import Schema
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.criterion import criterion
from anomaly_vae.training.fitting import Fitted, fit_model, from_checkpoint, to_checkpoint
from anomaly_vae.training.loop import Progress

__all__ = ["Choice", "candidates", "search"]

# Seeds of a mixture's members are this far apart, for those of neighbouring runs may be neighbours.
_NEXT_SEED = 1_000_003

_MOST_SEED = 2**32

# The parameters in which candidates differ, for the manifest.
_VARIED = ("likelihood", "decoder_variance", "latent_dim", "hidden", "column_transform", "random_state")

# Most latent dimensions that the search tries.
_MOST_LATENT = 32


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The models to score with, best first, and all that were tried."""

    members: tuple[Fitted, ...]
    candidates: tuple[Candidate, ...]
    interrupted: bool


def candidates(config: TrainConfig) -> list[TrainConfig]:
    """The settings to train with, all of them different, the user's own first.

    Where the likelihood is left to us, two of them are scored as a mixture: over 16 tables the mixture of heavy-tailed
    and of discretised heads was better than either, and than two seeds of one.
    """
    is_open = _is_open(config)
    members = num_members(config)
    if config.likelihood == "auto":
        config = replace(config, likelihood="student_t" if is_open else "gaussian")
    if config.search == "off":
        return [_with_seed(config, i) for i in range(members)]
    found = [config]
    if is_open:
        found.append(replace(config, likelihood="logistic"))
    if config.search == "full":
        wide = min(2 * int(config.latent_dim), _MOST_LATENT)
        found += [replace(each, latent_dim=wide) for each in list(found) if wide > int(config.latent_dim)]
        found.append(replace(config, column_transform="auto"))
        if is_open:
            found.append(replace(config, likelihood="gaussian", decoder_variance="conditional"))
    missing = max(members - len(found), 0)
    return [*found, *(_with_seed(found[i % len(found)], 1 + i // len(found)) for i in range(missing))]


def num_members(config: TrainConfig) -> int:
    """How many models are scored with."""
    if config.ensemble != "auto":
        return int(config.ensemble)
    return 2 if config.search != "off" and _is_open(config) else 1


def _is_open(config: TrainConfig) -> bool:
    """Whether the user left the heads of numbers to us."""
    return config.likelihood == "auto" and config.decoder_variance == "learned"


def search(
    config: TrainConfig,
    schema: Schema,
    train: FloatArray,
    held_out: FloatArray,
    checkpoint: Checkpoint,
    report: Callable[[str, Progress], None] | None = None,
) -> Choice:
    """Train the candidates and choose the members of the mixture.

    An interruption ends the search with the models trained so far.

    Args:
        config: Parameters, sizes and seed resolved.
        schema: The columns.
        train, held_out: Rows in data units.
        checkpoint: Where the run is kept.
        report: Told which model is in training and how it goes.
    """
    settings = candidates(config)
    fitted: list[Fitted] = []
    interrupted = False
    for i, candidate in enumerate(settings):
        if i < len(checkpoint.finished):
            saved = checkpoint.finished[i]
            if saved is not None:
                fitted.append(from_checkpoint(candidate, schema, train, held_out, saved))
            continue
        title = f"model {i + 1} of {len(settings)}" if len(settings) > 1 else "training"
        tell = None if report is None else partial(report, title)
        try:
            model = fit_model(candidate, schema, train, held_out, checkpoint, tell)
        except KeyboardInterrupt:
            if not fitted:
                raise
            interrupted = True
            break
        except AnomalyVaeError:
            if i == len(settings) - 1 and not fitted:
                raise
            checkpoint.finish(None)  # one that diverges is no candidate
            continue
        fitted.append(model)
        if model.result.interrupted:
            interrupted = True
            break
        checkpoint.finish(to_checkpoint(model))
    return _choose(config, schema, fitted, held_out, interrupted=interrupted)


def _choose(
    config: TrainConfig, schema: Schema, fitted: list[Fitted], held_out: FloatArray, *, interrupted: bool
) -> Choice:
    """The best by the criterion; a power of two of them."""
    wanted = min(num_members(config), 1 << (len(fitted).bit_length() - 1))
    values: list[float | None] = [None] * len(fitted)
    if len(fitted) > wanted:
        values = [criterion(model, schema, held_out, int(config.random_state or 0)) for model in fitted]
    order = sorted(range(len(fitted)), key=lambda i: -(values[i] or 0.0))  # stable: the first where there is no value
    chosen = order[:wanted]
    records = tuple(
        Candidate(
            settings={name: model.config.to_dict()[name] for name in _VARIED},
            criterion=values[i],
            held_out_elbo=model.result.held_out.elbo + model.base,
            chosen=i in chosen,
        )
        for i, model in enumerate(fitted)
    )
    return Choice(members=tuple(fitted[i] for i in chosen), candidates=records, interrupted=interrupted)


def _with_seed(config: TrainConfig, i: int) -> TrainConfig:
    """The same settings with a seed of its own for each i."""
    return replace(config, random_state=(int(config.random_state or 0) + i * _NEXT_SEED) % _MOST_SEED)
