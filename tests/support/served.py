"""A served model without networks: its columns, its budgets and its calibration are real."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from anomaly_vae.calibration import calibrate
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.scores import Scores
from anomaly_vae.service.models.catalogue import Catalogue, Versions
from anomaly_vae.service.models.repository import Change
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from tests.support.data import NAMES

__all__ = ["DIGEST", "LIMITS", "SCHEMA", "catalogue_of", "scores_of", "serve", "served_model"]

SCHEMA = Schema(
    columns=(
        *(Column(name=name, kind="continuous") for name in NAMES[:-1]),
        Column(name=NAMES[-1], kind="constant", value=7.0),
    )
)
LIMITS = ServeConfig(model=Path("model"), max_rows=1_000, max_columns=50)
DIGEST = "0123456789abcdef" * 4


def served_model(schema=SCHEMA, budgets=(16, 64, 1_024), tail="low", **scorer):
    """Return a model calibrated for 1,024 samples, with the threshold of 99 calibration scores 0, 1, ..., 98: the
    fifth, since 0.055 times 100 is 5.5. With two tails, each has half of it: the second and the second last score."""
    calibration = calibrate(np.arange(99.0), np.zeros(99, bool), 0.055, tail=tail)[0]
    manifest = SimpleNamespace(calibration=calibration, schema=schema, format_version=7)
    bundle = SimpleNamespace(manifest=manifest, digest=DIGEST, calibration=np.arange(99.0))
    given = {"schema": schema, "num_samples": 1_024, "bundle": bundle, "threshold": calibration.threshold}
    given |= {"upper_threshold": calibration.upper_threshold}
    return Served("model", "3", SimpleNamespace(**given | scorer), budgets)


def catalogue_of(*models, **shares):
    """Return the catalogue of some versions; the first of each name is the default one."""
    by_name = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    return Catalogue(
        {
            name: Versions({one.version: one for one in versions}, versions[0], **shares)
            for name, versions in by_name.items()
        }
    )


def serve(scoring, *models, measured=(), **shares):
    """Let a service's queue serve models without a place."""
    catalogue = catalogue_of(*models, **shares)
    add = scoring.metrics.models.add
    facts = served_model().scorer  # of models without a calibration of their own
    scoring.metrics.models.add = lambda key, scorer: add(key, scorer if hasattr(scorer, "bundle") else facts)
    scoring.serve(Change(catalogue, [(model, list(measured)) for model in models]))


def scores_of(n, *, calibrated=True, seed=0):
    """Return scores of n rows, whose fields have different values."""
    rng = np.random.default_rng(seed)
    numbers = {
        name: rng.normal(size=n)
        for name in ("log_px", "score", "elbo", "std_error", "ess_ratio", "pareto_k", "p_value")
    }
    if not calibrated:
        numbers["p_value"] = None
    return Scores(
        **numbers,
        reliable=rng.random(n) < 0.5,
        is_anomaly=rng.random(n) < 0.5 if calibrated else None,
        num_samples=rng.integers(16, 4_096, size=n),
        reason=[None if i % 2 else f"reason {i}" for i in range(n)],
    )
