"""The release gates pass sound models and fail unsound ones."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from msgspec import structs

from anomaly_vae.bundle.manifest import Gate
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import GateFailed
from anomaly_vae.scorer import Scorer
from anomaly_vae.training import gates
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.fit import fit_model, resolve_config
from anomaly_vae.training.pipeline import train_model
from tests.support.data import make_rows
from tests.support.schemas import infer_schema
from tests.support.training import QUICK


def named(bundle):
    return {gate.name: gate for gate in bundle.manifest.training.gates}


def test_a_sound_model_passes_its_gates(trained):
    assert all(gate.passed is not False for gate in trained.bundle.manifest.training.gates)
    gates.refuse_failed(trained.bundle.manifest.training.gates)


def test_a_collapsed_posterior_fails_its_gate():
    """A very large beta drives the KL to 0 although the columns are correlated."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 1)) * [1.0, 2.0, -1.0, 0.5] + 0.3 * rng.normal(size=(600, 4))
    bundle = train_model(
        rows, tuple("abcd"), replace(QUICK, prior="normal", beta=1000.0, max_steps=150, kl_warmup=0.0)
    ).bundle
    gate = named(bundle)["posterior collapse"]
    assert gate.passed is False
    assert "ignores z" in gate.detail
    with pytest.raises(GateFailed, match=r"posterior collapse: .*--force"):
        gates.refuse_failed(bundle.manifest.training.gates)


def test_the_collapse_gate_is_not_applied_to_uncorrelated_columns():
    """z carries no information about independent columns, so a KL of 0 is correct."""
    rows = np.random.default_rng(0).normal(size=(800, 4))
    config = replace(QUICK, beta=1000.0, max_steps=150, kl_warmup=0.0, likelihood="gaussian")
    assert named(train_model(rows, tuple("abcd"), config).bundle)["posterior collapse"].passed is None


def test_columns_that_copy_each_other_fail_the_gate_of_the_floors():
    """Long trainings drive variances to their floors, here they are set there: copies fail, other columns pass."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    for noise, passed in ((1e-3, False), (0.2, True)):
        rows = np.column_stack([z[:, 0], z[:, 1], 2.0 * z[:, 0] - z[:, 1]]) + noise * rng.normal(size=(300, 3))
        schema = infer_schema(rows, tuple("abc"))
        config = resolve_config(replace(QUICK, likelihood="gaussian", max_steps=50), schema, 600)
        model = fit_model(config, schema, rows[:250], rows[250:], Checkpoint(None, resume=False))
        assert gates.variance_floors([model], rows).passed
        with torch.no_grad():
            model.vae.head.parts[0].raw_log_var[:] = -20.0
        gate = gates.variance_floors([model], rows)
        assert gate.passed is passed
        assert ("exclude copies" in gate.detail) is not passed


def test_a_large_gap_between_elbo_and_log_p_fails_its_gate(trained):
    model, estimates = trained.members, Scorer(trained.bundle)._judge.estimator.estimate_fixed(make_rows(40), 64)
    assert gates.importance_gap(model, estimates).passed
    gate = gates.importance_gap(model, estimates._replace(elbo=estimates.elbo - 20.0))
    assert gate.passed is False
    assert "exceeds the ELBO by 2" in gate.detail


def test_windows_may_have_a_large_gap_where_log_p_is_reliable(trained):
    """The encoder of a window or an image is often far from the posterior, and the fitted proposals are not."""
    (member,) = trained.members[:1]
    estimates = Scorer(trained.bundle)._judge.estimator.estimate_fixed(make_rows(40), 64)
    features = copy.copy(member.features)
    features.schema = structs.replace(features.schema, shape=SeriesShape(length=2, channels=("a",)))
    shaped = (replace(member, features=features),)
    far = estimates._replace(elbo=estimates.elbo - 20.0, reliable=np.arange(40) >= 4)
    assert gates.importance_gap(shaped, far).passed
    gate = gates.importance_gap(shaped, far._replace(reliable=np.arange(40) >= 5))
    assert gate.passed is False
    assert gate.detail.endswith("or reliable rows: 88% are")
    assert gates.variance_floors(shaped, make_rows(40)).passed is None


def test_a_model_worse_than_a_linear_one_fails_its_gate():
    """After 10 steps the model is worse than a factor analysis of the same rows. Chosen dimensions are not pruned."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 2)) @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(1500, 8))
    names = tuple("abcdefgh")
    config = replace(QUICK, max_steps=10, likelihood="gaussian", latent_dim=4)
    gate = named(train_model(rows, names, config).bundle)["as good as a linear model"]
    assert gate.passed is False
    assert "train longer" in gate.detail


def test_too_many_false_positives_fail_the_gate():
    """In the second case every second score is 1 nat lower, so the two folds have different distributions."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=2000)
    assert gates.false_positives(scores).passed
    drifting = scores.copy()
    drifting[1::2] -= 1.0
    assert gates.false_positives(drifting).passed is False
    assert gates.false_positives(scores[:10]).passed is None


def test_all_failed_gates_are_named():
    found = (
        Gate(name="one", passed=False, detail="a"),
        Gate(name="two", passed=True, detail="b"),
        Gate(name="three", passed=None, detail="c"),
        Gate(name="four", passed=False, detail="d"),
    )
    with pytest.raises(GateFailed, match=r"^one: a; four: d\. Check"):
        gates.refuse_failed(found)
