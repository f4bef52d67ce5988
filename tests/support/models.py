"""Example columns for every kind of head, and small untrained models of them."""

from __future__ import annotations

import numpy as np
import torch

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import (
    BernoulliHead,
    CategoricalHead,
    ColumnModel,
    ConditionalHead,
    CountHead,
    GaussianHead,
    LogisticHead,
    PixelHead,
    StudentTHead,
    VonMisesHead,
)
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.transforms import Standardise, YeoJohnson
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.member import Member
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.prior import Mixture
from anomaly_vae.training.vae import VAE

LINE = Standardise(center=40.0, scale=0.25)
BEND = YeoJohnson(power=0.3, origin=2.0, unit=1.5, center=0.1, scale=0.8)

# At least one column for each kind of head, by name.
COLUMNS: dict[str, tuple[Column, ColumnModel]] = {
    "categorical": (
        Column(name="colour", kind="categorical", categories=("blue", "green", "red")),
        ColumnModel(head=CategoricalHead(size=3)),
    ),
    "gaussian": (
        Column(name="pressure", kind="continuous"),
        ColumnModel(head=GaussianHead(variance="fixed", log_var=-1.0), transform=LINE),
    ),
    "bent": (
        Column(name="income", kind="continuous"),
        ColumnModel(head=GaussianHead(variance="fixed", log_var=-0.5), transform=BEND),
    ),
    "grid": (
        Column(name="tenths", kind="continuous", step=0.1, origin=0.0),
        ColumnModel(head=GaussianHead(variance="fixed", log_var=-1.2, step=0.1), transform=LINE),
    ),
    "conditional": (
        Column(name="flow", kind="continuous"),
        ColumnModel(head=ConditionalHead(floor=0.05), transform=LINE),
    ),
    "student_t": (
        Column(name="delay", kind="continuous"),
        ColumnModel(head=StudentTHead(log_scale=-0.7, freedom=4.0), transform=LINE),
    ),
    "logistic": (
        Column(name="year", kind="integer", step=1.0, origin=0.0),
        ColumnModel(
            head=LogisticHead(log_scale=-0.7, step=1.0, cell=0.5), transform=Standardise(center=10.0, scale=2.0)
        ),
    ),
    "bernoulli": (Column(name="is_open", kind="binary"), ColumnModel(head=BernoulliHead())),
    "count": (
        Column(name="visits", kind="count"),
        ColumnModel(head=CountHead(log_dispersion=0.5, center=2.0, scale=3.0)),
    ),
    "cyclic": (
        Column(name="hour", kind="cyclic", period=24.0),
        ColumnModel(head=VonMisesHead(period=24.0, limit=100.0)),
    ),
    "pixel": (
        Column(name="brightness", kind="integer", step=1.0, origin=0.0),
        ColumnModel(head=PixelHead(low=0.0, step=1.0, levels=11), transform=Standardise(center=5.0, scale=5.0)),
    ),
}

ALL = tuple(COLUMNS)


def schema_of(*names: str) -> Schema:
    return Schema(columns=tuple(COLUMNS[name][0] for name in names))


def columns_of(*names: str) -> tuple[ColumnModel, ...]:
    return tuple(COLUMNS[name][1] for name in names)


def vae_of(
    *names: str,
    latent_dim: int = 2,
    hidden: tuple[int, ...] = (16,),
    seed: int = 0,
    wild: float = 2.0,
    components: int = 0,
) -> VAE:
    """Return networks with random weights; ``wild`` multiplies the decoder's, so that p(x|z) depends on z."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = VAE(columns_of(*names), hidden, latent_dim, components)
        if isinstance(vae.prior, Mixture):
            vae.prior.raw_log_scale.data.uniform_(-1.0, 0.5)
            vae.prior.logits.data.normal_()
        with torch.no_grad():
            for parameter in vae.decoder.parameters():
                parameter.mul_(wild)
    return vae


def features_of(*names: str, vae: VAE | None = None) -> Features:
    """Return the features of columns by name, with the learned values of ``vae`` if it is given."""
    return Features(schema_of(*names), columns_of(*names) if vae is None else vae.head.column_models())


def member_of(vae: VAE, features: Features) -> Member:
    network = OnnxNetwork(
        export_graphs(vae),
        latent_dim=vae.latent_dim,
        num_features=features.layout.num_features,
        num_params=features.layout.num_params,
    )
    return Member.of(network, vae.latent_dim, features, vae.prior.record())


def estimator_of(vae: VAE, features: Features, **options: object) -> DensityEstimator:
    return DensityEstimator([member_of(vae, features)], sobol_normal(16, 256, vae.latent_dim + 1, seed=0), **options)


def rows_of(n: int, *names: str, seed: int = 0) -> np.ndarray:
    """Return plausible rows of numbers; a text is its index."""
    rng = np.random.default_rng(seed)
    made = {
        "categorical": rng.integers(3, size=n),
        "gaussian": 40.0 + 0.25 * rng.normal(size=n),
        "bent": 2.0 + rng.gamma(2.0, size=n),
        "grid": np.round(40.0 + 0.25 * rng.normal(size=n), 1),
        "conditional": 40.0 + 0.25 * rng.normal(size=n),
        "student_t": 40.0 + 0.25 * rng.standard_t(3, size=n),
        "logistic": np.round(10.0 + 2.0 * rng.normal(size=n)),
        "bernoulli": rng.integers(2, size=n),
        "count": rng.poisson(2.0, size=n),
        "cyclic": 12.0 / np.pi * rng.vonmises(2.0, 1.5, size=n) % 24.0,
        "pixel": rng.integers(11, size=n),
    }
    return np.column_stack([made[name] for name in names]).astype(np.float64)
