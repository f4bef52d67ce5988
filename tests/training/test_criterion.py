"""The selection criterion prefers models that describe how columns depend on each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.criterion import criterion, shuffle_cells
from anomaly_vae.training.fit import fit_model, resolve_config
from tests.support.data import NAMES, make_rows
from tests.support.schemas import infer_schema


def test_the_criterion_prefers_a_model_of_the_dependence_between_columns():
    """Shuffled cells keep the distribution of every column: only the dependence between columns reveals them."""
    rows = make_rows(900)
    schema = infer_schema(rows, NAMES)
    config = resolve_config(
        TrainConfig(random_state=0, search="off", likelihood="gaussian", max_steps=300), schema, 600
    )
    unsaved = Checkpoint(None, resume=False)
    good = fit_model(config, schema, rows[:600], rows[600:], unsaved)
    collapsed = fit_model(replace(config, beta=100.0), schema, rows[:600], rows[600:], unsaved)
    assert criterion(good, schema, rows[600:], 0) > criterion(collapsed, schema, rows[600:], 0) + 0.05
    assert criterion(good, schema, rows[600:], 0) == criterion(good, schema, rows[600:], 0)


def test_shuffled_cells_come_from_other_rows_of_the_same_column():
    rows = np.arange(60.0).reshape(20, 3)
    schema = infer_schema(rows, ("a", "b", "c"))
    changed = shuffle_cells(rows, schema, 0.3, np.random.default_rng(0))
    assert np.all((changed != rows).any(axis=1))
    for d in range(3):
        assert np.isin(changed[:, d], rows[:, d]).all()
