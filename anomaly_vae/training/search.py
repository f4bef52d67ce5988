"""The search: train several candidates and choose the members of the ensemble by the selection criterion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.manifest import Candidate
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.criterion import criterion
from anomaly_vae.training.fit import FittedModel, fit_model, from_checkpoint, to_checkpoint
from anomaly_vae.training.loop import Progress

__all__ = ["SearchResult", "candidate_configs", "search"]

# Distance between the seeds of two members: so large that ensembles trained with the seeds 0, 1, 2, ... share no seed.
_SEED_STEP = 1_000_003

# Seeds are below this, as random_state is.
_SEED_LIMIT = 2**32

# The parameters in which candidates can differ; the manifest records them.
_VARIED = ("likelihood", "decoder_variance", "latent_dim", "hidden", "column_transform", "random_state")

# Most latent dimensions that the search tries. "auto" chooses at most 16, and the search doubles them.
_MAX_LATENT = 32


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search.

    Attributes:
        members: The models of the ensemble, best first.
        candidates: A record of every model trained.
        interrupted: Whether KeyboardInterrupt ended the search.
    """

    members: tuple[FittedModel, ...]
    candidates: tuple[Candidate, ...]
    interrupted: bool


def candidate_configs(config: TrainConfig) -> list[TrainConfig]:
    """Return the configurations to train, all different, the user's own first.

    If likelihood and variance have their defaults, Student-t and discretised logistic heads are both trained. Measured
    on 16 ADBench tables: an ensemble of the two detects better than either one, and than two seeds of one.
    """
    open_likelihood = _has_open_likelihood(config)
    members = _num_members(config)
    if config.likelihood == "auto":
        config = replace(config, likelihood="student_t" if open_likelihood else "gaussian")
    if config.search == "off":
        return [_with_seed(config, i) for i in range(members)]
    configs = [config]
    if open_likelihood:
        configs.append(replace(config, likelihood="logistic"))
    if config.search == "full":
        wide = min(2 * int(config.latent_dim), _MAX_LATENT)
        configs += [replace(each, latent_dim=wide) for each in list(configs) if wide > int(config.latent_dim)]
        configs.append(replace(config, column_transform="auto"))
        if open_likelihood:
            configs.append(replace(config, likelihood="gaussian", decoder_variance="conditional"))
    missing = max(members - len(configs), 0)
    return [*configs, *(_with_seed(configs[i % len(configs)], 1 + i // len(configs)) for i in range(missing))]


def _num_members(config: TrainConfig) -> int:
    """Return the number of models in the ensemble."""
    if config.ensemble != "auto":
        return int(config.ensemble)
    return 2 if config.search != "off" and _has_open_likelihood(config) else 1


def _has_open_likelihood(config: TrainConfig) -> bool:
    """Whether the search may choose the likelihood of numeric columns: the user set neither it nor the variance."""
    return config.likelihood == "auto" and config.decoder_variance == "learned"


def search(
    config: TrainConfig,
    schema: Schema,
    train: FloatArray,
    held_out: FloatArray,
    checkpoint: Checkpoint,
    report: Callable[[str, Progress], None] | None = None,
) -> SearchResult:
    """Train the candidates and choose the members of the ensemble.

    KeyboardInterrupt ends the search with the models trained so far; if there are none, it is raised again. A candidate
    that diverges is left out; if all diverge, the error of the last one is raised.

    Args:
        config: Parameters, with sizes and seed resolved.
        schema: The columns.
        train, held_out: Rows in data units.
        checkpoint: Has the models and the state to continue from, if any; receives new ones.
        report: Called with the title of the model in training and its progress.
    """
    configs = candidate_configs(config)
    models = [
        from_checkpoint(candidate, schema, train, held_out, saved)
        for candidate, saved in zip(configs, checkpoint.finished, strict=False)
        if saved is not None
    ]
    interrupted = False
    for i in range(len(checkpoint.finished), len(configs)):
        title = f"model {i + 1} of {len(configs)}" if len(configs) > 1 else "training"
        on_progress = None if report is None else partial(report, title)
        try:
            model = fit_model(configs[i], schema, train, held_out, checkpoint, on_progress)
        except KeyboardInterrupt:
            if not models:
                raise
            interrupted = True
            break
        except AnomalyVaeError:
            if i == len(configs) - 1 and not models:
                raise
            checkpoint.add_finished(None)
            continue
        models.append(model)
        if model.result.interrupted:
            interrupted = True
            break
        checkpoint.add_finished(to_checkpoint(model))
    return _choose_members(config, schema, models, held_out, interrupted=interrupted)


def _choose_members(
    config: TrainConfig, schema: Schema, models: list[FittedModel], held_out: FloatArray, *, interrupted: bool
) -> SearchResult:
    """Choose the best models by the criterion, as many as configured, or the largest power of two that was trained."""
    size = min(_num_members(config), 1 << (len(models).bit_length() - 1))
    values: list[float | None] = [None] * len(models)
    if len(models) > size:
        values = [criterion(model, schema, held_out, int(config.random_state or 0)) for model in models]
    # The sort is stable: without values the first models are chosen.
    order = sorted(range(len(models)), key=lambda i: -(values[i] or 0.0))
    chosen = order[:size]
    records = tuple(
        Candidate(
            settings={name: model.config.to_dict()[name] for name in _VARIED},
            criterion=values[i],
            held_out_elbo=model.result.held_out.elbo + model.elbo_offset,
            chosen=i in chosen,
        )
        for i, model in enumerate(models)
    )
    return SearchResult(members=tuple(models[i] for i in chosen), candidates=records, interrupted=interrupted)


def _with_seed(config: TrainConfig, i: int) -> TrainConfig:
    """Return the configuration with seed number i; number 0 is its own seed."""
    return replace(config, random_state=(int(config.random_state or 0) + i * _SEED_STEP) % _SEED_LIMIT)
