"""The parameters of training, validated. The names are those of VAEDetector's parameters."""

from __future__ import annotations

import difflib
import numbers
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from anomaly_vae.columns.heads import HEADS
from anomaly_vae.columns.plan import Wanted
from anomaly_vae.columns.reading.missing import check_markers
from anomaly_vae.columns.reading.records import PARTS
from anomaly_vae.columns.schema import KINDS
from anomaly_vae.columns.shapes import MOST_CELLS
from anomaly_vae.errors import ConfigError
from anomaly_vae.record import TAILS, Tail
from anomaly_vae.score_options import check_rate, is_real, shortened

__all__ = ["LIKELIHOODS", "TrainConfig", "read_toml"]

Auto = Literal["auto"]

# A constant column has one value, and a cyclic one needs a period: they are not chosen.
_KINDS_TO_SET = (*(kind for kind in KINDS if kind not in ("constant", "cyclic")), "datetime", "exclude")

# The keys of the table [window] of a configuration file, and the parameters that they set.
_WINDOW_KEYS = {"length": "window", "stride": "stride", "timestamp": "timestamp", "series": "series"}

# Training images for a contrast by default. Chosen, not measured: fewer teach a classifier little.
_LEAST_IMAGES = 100

LIKELIHOODS = ("auto", *(kind for kind, head in HEADS.items() if head.selectable))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Parameters of a training run. The defaults suit most tables.

    Attributes:
        latent_dim: Dimensions of z; "auto" uses the number of modelled columns, at most 16, and removes those that the
            trained model does not use.
        hidden: Widths of the hidden layers of encoder and decoder; "auto" uses two layers, wider for more columns. With
            convolutions, the channels of each stage.
        architecture: Kind of network: "mlp", "conv1d" for windows of series or "conv2d" for images; "auto" chooses by
            the data.
        residual: Whether convolutions have residual blocks between them.
        dropout: Share of the channels that each training step drops before the encoder's last layer, with convolutions.
        normalisation: "batch": convolutions have batch normalisation in training; "none".
        contrast: Whether a classifier that tells the training images from corrupted ones adds a second score and
            p-value: "on", "off", or "auto", which is on for 100 training images or more.
        window: Steps of a window of a time series, "auto" for a length by the data's period, or None for a table.
        stride: Steps from one training window to the next.
        timestamp: The column with the times of a series; None to find it.
        series: The column that names the series, if a table holds several.
        prior: p(z): "normal", N(0, I), or "mixture", a mixture of Gaussians that is learned. "auto" uses the mixture.
        decoder_variance: Variance of Gaussian heads: "learned" (one per column), "fixed" (the column's own variance) or
            "conditional" (depends on z). "auto" is "learned", for images "conditional".
        likelihood: p(x|z) of numeric columns. "auto": the search chooses; without a search "student_t", or "gaussian"
            if the variance is not "learned". "gaussian". "student_t". "logistic": the probability of a grid point for
            columns with values on a grid, else Gaussian. "pixel": for images in bytes, the probability of a level under
            two logistic distributions whose scales depend on z; other columns are Gaussian. "bernoulli": all columns
            are 0 or 1. "count": negative binomial. Binary, count and categorical columns have heads of their own in any
            case.
        column_transform: "auto" for a power transform (Yeo-Johnson) of each skewed column whose held-out values become
            more likely with it, or "standardise" for none.
        columns: Kinds of columns by name, if the values suggest a wrong kind: "continuous", "integer", "count",
            "binary", "categorical", "datetime", "exclude" (left out), or a list of the parts of a time that the model
            learns: "time_of_day", "day_of_week", "day_of_month", "day_of_year", "trend".
        missing_values: Texts or numbers that mean a missing cell, beside the usual ones such as NA.
        beta: Final weight of the KL term in the training loss. Scores always use 1.
        kl_warmup: Fraction of the steps over which the KL weight rises from 0 to beta.
        free_bits: Nats of KL that each latent dimension may use at no cost; against posterior collapse.
        masking: Share of the steps that hide random cells and train the encoder only, so that it learns to handle
            missing cells.
        trim_fraction: Share of the training rows of each step, the least likely ones, to leave out. For training tables
            that contain anomalies.
        search: "off" (one model), "fast" (an ensemble of two likelihoods) or "full" (also other likelihoods, latent
            dimensions, variances and transforms; the best ones by a criterion that needs no labels).
        ensemble: Number of models that are scored together, 1, 2, 4, 8 or 16; "auto" uses 2 if the search may choose
            the likelihood, else 1.
        target_fpr: Target false-positive rate, the share of normal rows that may be flagged.
        tail: Whether only rows with a low score are anomalies ("low"), or also those with a higher score than normal
            rows have ("both"); each side gets half of target_fpr. "auto" uses "both" for images, of which plain ones
            may be more likely than those of the training, and "low" for tables and series.
        max_epochs: Limit in passes over the training rows, or None for no limit.
        max_steps: Limit in optimiser steps; "auto" uses 2.5 for each training row, between 2,000 and 8,000; half of
            that without a search. Windows get 1,000 to 2,000 steps, images 1,000 to 4,000.
        device: "auto" (CUDA if available, else the CPU), or the name of a torch device such as "cpu".
        random_state: Seed of the split, the weights and the noise; None uses a random seed.
    """

    latent_dim: int | Auto = "auto"
    hidden: tuple[int, ...] | Auto = "auto"
    architecture: str = "auto"
    residual: bool = False
    dropout: float = 0.0
    normalisation: str = "none"
    contrast: str = "auto"
    window: int | Auto | None = None
    stride: int = 1
    timestamp: str | None = None
    series: str | None = None
    prior: str = "auto"
    decoder_variance: str = "auto"
    likelihood: str = "auto"
    column_transform: str = "auto"
    columns: Mapping[str, Wanted] = field(default_factory=dict)
    missing_values: tuple[str, ...] = ()
    beta: float = 1.0
    kl_warmup: float = 0.3
    free_bits: float = 0.0
    masking: float = 0.1
    trim_fraction: float = 0.0
    search: str = "fast"
    ensemble: int | Auto = "auto"
    target_fpr: float = 0.01
    tail: str = "auto"
    max_epochs: int | None = None
    max_steps: int | Auto = "auto"
    device: str = "auto"
    random_state: int | None = None

    def __post_init__(self) -> None:
        """Check every field; convert numbers of numpy to Python's, and lists (from TOML) to tuples."""
        if not isinstance(self.hidden, str) or self.hidden != "auto":
            self._set("hidden", _widths(self.hidden))
        if not isinstance(self.latent_dim, str) or self.latent_dim != "auto":
            self._set("latent_dim", _whole("latent_dim", self.latent_dim, 1, 1024))
        _check_choice("architecture", self.architecture, ("auto", "mlp", "conv1d", "conv2d"))
        if not isinstance(self.residual, bool):
            raise ConfigError(f"residual must be true or false, got {shortened(self.residual)}")
        self._set("dropout", _number("dropout", self.dropout, 0, 0.9))
        _check_choice("normalisation", self.normalisation, ("none", "batch"))
        _check_choice("contrast", self.contrast, ("auto", "on", "off"))
        self._check_window()
        _check_choice("prior", self.prior, ("auto", "normal", "mixture"))
        _check_choice("decoder_variance", self.decoder_variance, ("auto", "learned", "fixed", "conditional"))
        _check_choice("likelihood", self.likelihood, LIKELIHOODS)
        if self.likelihood == "student_t" and self.decoder_variance not in ("auto", "learned"):
            raise ConfigError(
                f"decoder_variance {self.decoder_variance!r} needs Gaussian heads, but likelihood is 'student_t'"
            )
        _check_choice("column_transform", self.column_transform, ("auto", "standardise"))
        _check_choice("search", self.search, ("off", "fast", "full"))
        self._set("columns", _kinds(self.columns))
        self._set("missing_values", check_markers(self.missing_values))
        self._set("beta", _number("beta", self.beta, 0, 1000))
        self._set("kl_warmup", _number("kl_warmup", self.kl_warmup, 0, 1))
        self._set("free_bits", _number("free_bits", self.free_bits, 0, 100))
        if self.free_bits > 0.0 and self.prior == "mixture":
            raise ConfigError(
                "free_bits needs the KL of each latent dimension, so prior must be 'normal', got 'mixture'"
            )
        self._set("masking", _number("masking", self.masking, 0, 1))
        self._set("trim_fraction", _number("trim_fraction", self.trim_fraction, 0, 0.5))
        if self.ensemble != "auto":
            self._set("ensemble", _whole("ensemble", self.ensemble, 1, 16))
            if self.ensemble not in (1, 2, 4, 8, 16):
                raise ConfigError(f"ensemble must be 1, 2, 4, 8 or 16, got {self.ensemble}")
        self._set("target_fpr", check_rate("target_fpr", self.target_fpr))
        _check_choice("tail", self.tail, ("auto", *TAILS))
        if self.max_epochs is not None:
            self._set("max_epochs", _whole("max_epochs", self.max_epochs, 1, 10**9))
        if not isinstance(self.max_steps, str) or self.max_steps != "auto":
            self._set("max_steps", _whole("max_steps", self.max_steps, 1, 10**9))
        if not isinstance(self.device, str):
            raise ConfigError(f'device must be "auto" or a torch device such as "cpu", got {self.device!r}')
        if self.random_state is not None:
            self._set("random_state", _whole("random_state", self.random_state, 0, 2**32 - 1))

    def _check_window(self) -> None:
        if self.window is not None and self.window != "auto":
            self._set("window", _whole("window", self.window, 2, MOST_CELLS))
        self._set("stride", _whole("stride", self.stride, 1, MOST_CELLS))
        for name in ("timestamp", "series"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"{name} must be the name of a column, got {shortened(value)}")
        if self.window is None and self.architecture == "conv1d":
            self._set("window", "auto")
        if self.window is None and (self.timestamp or self.series or self.stride != 1):
            raise ConfigError('timestamp, series and stride are for windows of time series: set window, such as "auto"')
        if self.window is not None and self.architecture == "conv2d":
            raise ConfigError("architecture 'conv2d' is for images, and window for time series")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def tail_for(self, kind: Literal["table", "series", "image"]) -> Tail:
        """Return the tail for rows of this kind."""
        if self.tail == "auto":
            return "both" if kind == "image" else "low"
        return "both" if self.tail == "both" else "low"

    def has_contrast(self, kind: Literal["table", "series", "image"], num_rows: int) -> bool:
        """Return whether a model of rows of this kind, with so many training rows, has a contrast.

        Raises:
            ConfigError: It is "on", and the rows are no images.
        """
        if self.contrast == "on" and kind != "image":
            raise ConfigError(f"contrast 'on' is for images, and these rows are those of a {kind}; use 'auto' or 'off'")
        return self.contrast == "on" or (self.contrast == "auto" and kind == "image" and num_rows >= _LEAST_IMAGES)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers, strings and lists, for the manifest."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of :class:`TrainConfig` fields.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has a key that is no parameter.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    if isinstance(window := values.get("window"), dict):
        _check_keys(f"{path}: [window]", window, _WINDOW_KEYS)
        del values["window"]
        values |= {_WINDOW_KEYS[key]: value for key, value in window.items()}
        values.setdefault("window", "auto")
    _check_keys(str(path), values, [f.name for f in fields(TrainConfig)])
    return values


def _check_keys(where: str, values: Iterable[str], known: Collection[str]) -> None:
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown parameter {key!r}; {hint}")


def _plain(value: Any) -> Any:
    """Return a field as numbers, strings, lists and dictionaries."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _number(name: str, value: Any, low: float, high: float) -> float:
    if not is_real(value) or not low <= value <= high:
        raise ConfigError(f"{name} must be a number between {low} and {high}, got {shortened(value)}")
    return float(value)


def _whole(name: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not low <= int(value) <= high:
        raise ConfigError(f"{name} must be a whole number between {low} and {high}, got {shortened(value)}")
    return int(value)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")


def _widths(value: object) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable) or not 1 <= len(value := list(value)) <= 8:
        raise ConfigError(f'hidden must be "auto" or up to 8 layer widths such as [128, 128], got {value!r}')
    return tuple(_whole("hidden", width, 1, 4096) for width in value)


def _kinds(value: object) -> dict[str, Wanted]:
    if not isinstance(value, Mapping):
        raise ConfigError(f'columns must be kinds by name, such as {{"zip": "categorical"}}, got {shortened(value)}')
    return {str(name): _kind(f"columns: {name}", kind) for name, kind in value.items()}


def _kind(where: str, value: Any) -> Wanted:
    if isinstance(value, str):
        _check_choice(where, value, _KINDS_TO_SET)
        return value  # type: ignore[return-value]
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigError(f"{where} must be a kind or a list of parts of a time, got {shortened(value)}")
    for part in value:
        _check_choice(where, part, PARTS)
    return tuple(value)
