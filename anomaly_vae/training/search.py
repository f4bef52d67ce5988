"""The search: train several candidates and choose the members of the ensemble by the selection criterion."""

from __future__ import annotations

import contextlib
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
from anomaly_vae.training.fit import FittedModel, from_checkpoint, to_checkpoint
from anomaly_vae.training.group import Group
from anomaly_vae.training.history import curve_of
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.row_source import Rows
from anomaly_vae.training.team import Team

__all__ = ["SearchResult", "candidate_configs", "search"]

# Distance between the seeds of two members: so large that ensembles trained with the seeds 0, 1, 2, ... share no seed.
_SEED_STEP = 1_000_003

# Seeds are below this, as random_state is.
_SEED_LIMIT = 2**32

# The parameters in which candidates can differ; the manifest records them.
_VARIED = ("likelihood", "decoder_variance", "latent_dim", "hidden", "prior", "column_transform", "random_state")

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

    If likelihood and variance have their defaults, Student's t and Gaussian heads are both trained. Measured on 19
    ADBench tables: the mixture of the two has the mean AUROC of the better one on each group of tables, and a higher
    average precision than Gaussian heads alone (0.780 and 0.765 on 16 tables). Logistic heads in place of the Gaussian
    ones have 0.015 less. Two seeds of Student's t are as good there, but find fewer errors in mixed tables.
    """
    open_likelihood = _has_open_likelihood(config)
    members = _num_members(config)
    if config.likelihood == "auto":
        config = replace(config, likelihood="student_t" if open_likelihood else "gaussian")
    if config.search == "off":
        return [_with_seed(config, i) for i in range(members)]
    configs = [config]
    if open_likelihood:
        configs.append(replace(config, likelihood="gaussian"))
    if config.search == "full":
        wide = min(2 * int(config.latent_dim), _MAX_LATENT)
        configs += [replace(each, latent_dim=wide) for each in list(configs) if wide > int(config.latent_dim)]
        other = "standardise" if config.column_transform == "auto" else "auto"
        configs.append(replace(config, column_transform=other))
        if open_likelihood:
            configs.append(replace(config, likelihood="logistic"))
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
    train: Rows,
    held_out: FloatArray,
    checkpoint: Checkpoint,
    report: Callable[[str, Progress], None] | None = None,
    group: Group | None = None,
) -> SearchResult:
    """Train the candidates, side by side where the machine can, and choose the members of the ensemble.

    KeyboardInterrupt ends the search with the models trained so far; if there are none, it is raised again. A candidate
    that diverges is left out; if all diverge, the error of the last one is raised.

    Args:
        config: Parameters, with sizes and seed resolved.
        schema: The columns.
        train, held_out: Rows in data units; training rows may be read batch by batch.
        checkpoint: Has the models and the state to continue from, if any; receives new ones.
        report: Called with the title of a model in training and its progress.
        group: The processes that train the candidates; all of them have the same arguments. An interrupt then ends the
            search without models.

    Raises:
        LeftToLead: In all processes but the first, when the candidates are trained.
    """
    group = group or Group()
    configs = candidate_configs(config)
    models = [
        from_checkpoint(candidate, schema, train, held_out, saved)
        for candidate, saved in zip(configs, checkpoint.finished, strict=False)
        if saved is not None
    ]
    team = Team(schema, train, held_out, checkpoint, _reports(len(configs), report), group)
    interrupted, diverged = False, None
    while len(checkpoint.finished) < len(configs) and not interrupted:
        try:
            with contextlib.closing(team.train(configs, len(checkpoint.finished))) as trained:
                for each in trained:
                    if isinstance(each, AnomalyVaeError):
                        diverged = each
                        checkpoint.add_finished(None)
                        continue
                    models.append(each)
                    interrupted = interrupted or each.result.interrupted
                    if not interrupted:
                        checkpoint.add_finished(to_checkpoint(each))
        except KeyboardInterrupt:
            if not models or group.count > 1:
                raise
            interrupted = True
    if not models and diverged is not None:
        raise diverged
    group.leave_to_lead()
    return _choose_members(config, schema, models, held_out, interrupted=interrupted)


def _reports(
    count: int, report: Callable[[str, Progress], None] | None
) -> Callable[[int], Callable[[Progress], None] | None]:
    """Return a function that gives each model its callback, with its title."""
    if report is None:
        return lambda _: None
    return lambda i: partial(report, f"model {i + 1} of {count}" if count > 1 else "training")


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
            curve=curve_of(model.result.history, model.elbo_offset),
        )
        for i, model in enumerate(models)
    )
    return SearchResult(members=tuple(models[i] for i in chosen), candidates=records, interrupted=interrupted)


def _with_seed(config: TrainConfig, i: int) -> TrainConfig:
    """Return the configuration with seed number i; number 0 is its own seed."""
    return replace(config, random_state=(int(config.random_state or 0) + i * _SEED_STEP) % _SEED_LIMIT)
