"""The release gates pass sound models and fail unsound ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from anomaly_vae.bundle.manifest import Gate
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.kinds import infer_schema
from anomaly_vae.errors import GateFailed
from anomaly_vae.scorer import Scorer
from anomaly_vae.training import gates
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.columns import plan_columns
from anomaly_vae.training.fit import fit_model, resolve_config
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.training import QUICK, QUICK_GAUSSIAN


def named(bundle):
    return {gate.name: gate for gate in bundle.manifest.training.gates}


def test_a_sound_model_passes_its_gates(trained):
    assert all(gate.passed is not False for gate in trained.bundle.manifest.training.gates)
    gates.refuse_failed(trained.bundle.manifest.training.gates)


def test_a_collapsed_posterior_fails_its_gate():
    """A very large beta drives the KL to 0 although the columns are correlated."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 1)) * [1.0, 2.0, -1.0, 0.5] + 0.3 * rng.normal(size=(600, 4))
    bundle = train_model(rows, tuple("abcd"), replace(QUICK, beta=1000.0, max_steps=150, kl_warmup=0.0)).bundle
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


def test_correlation_is_found_despite_missing_cells_and_categories():
    """It is computed over the rows with both cells; the features of one categorical column do not count."""
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=600).astype(float)
    linked = np.column_stack([group, group * 2.0 + rng.normal(size=600)])
    apart = np.column_stack([rng.permutation(group), linked[:, 1]])
    for rows, expected in ((linked, True), (apart, False)):
        gaps = np.where(rng.random(rows.shape) < 0.4, np.nan, rows)
        schema = infer_schema(gaps, ("a", "b"), categories={"a": ("x", "y", "z")})
        columns = plan_columns(schema, gaps, resolve_config(QUICK, schema))
        assert gates.has_structure(Features(schema, columns), gaps) is expected


def test_columns_that_copy_each_other_fail_the_gate_of_the_floors():
    """A long training on copies drives the variances to their floors; here they are set there."""
    rows = make_rows(300)
    schema = infer_schema(rows, NAMES)
    config = resolve_config(replace(QUICK, likelihood="gaussian", max_steps=50), schema)
    model = fit_model(config, schema, rows[:250], rows[250:], Checkpoint(None, resume=False))
    assert gates.variance_floors([model]).passed
    with torch.no_grad():
        model.vae.head.parts[0].raw_log_var[:3] = -20.0
    gate = gates.variance_floors([model])
    assert gate.passed is False
    assert "exclude copies" in gate.detail


def test_a_large_gap_between_elbo_and_log_p_fails_its_gate(trained):
    model, estimates = trained.members, Scorer(trained.bundle)._estimator.estimate_fixed(make_rows(40), 64)
    assert gates.importance_gap(model, estimates).passed
    gate = gates.importance_gap(model, estimates._replace(elbo=estimates.elbo - 20.0))
    assert gate.passed is False
    assert "exceeds the ELBO by 2" in gate.detail


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


def test_a_model_that_onnx_computes_differently_is_not_released(monkeypatch):
    monkeypatch.setattr(gates, "log_px_in_float64", lambda _vaes, _est, rows, _num: np.full(len(rows), 1e9))
    with pytest.raises(GateFailed, match="differs from torch in float64"):
        train_model(make_rows(200), NAMES, replace(QUICK_GAUSSIAN, target_fpr=0.2))
