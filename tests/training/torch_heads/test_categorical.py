"""The categorical head in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from anomaly_vae.columns.heads import LOGIT_LIMIT, CategoricalHead, ColumnModel
from anomaly_vae.columns.schema import Column
from anomaly_vae.training.torch_heads.categorical import Categorical
from anomaly_vae.training.torch_heads.table import TableHead
from tests.support.training import column_data, doubles


def head_of(*sizes):
    (part,) = TableHead([ColumnModel(head=CategoricalHead(size=size)) for size in sizes]).double().parts
    return part


def test_each_column_has_its_own_softmax():
    """Two columns of 2 and 3 categories; the row is in category 1 of the first and 2 of the second."""
    x, logits = doubles([0, 1, 0, 0, 1]), doubles([0.5, -1.0, 0.2, 0.1, 3.0])
    one, two = log_softmax(logits[0, :2].numpy())[1], log_softmax(logits[0, 2:].numpy())[2]
    head = head_of(2, 3)
    assert float(head(x, logits, torch.ones_like(x))) == pytest.approx(one + two, rel=1e-12)
    assert float(head(x, logits, doubles([1, 1, 0, 0, 0]))) == pytest.approx(one, rel=1e-12)
    assert float(head(x, logits, torch.zeros_like(x))) == 0.0


def test_a_certain_and_wrong_prediction_has_a_finite_loss():
    loss = head_of(2)(doubles([1, 0]), doubles([-1e9, 1e9]), doubles([1, 1]))
    assert float(loss) == pytest.approx(-2.0 * LOGIT_LIMIT, rel=1e-3)


def test_training_starts_at_the_shares_of_the_categories():
    start = head_of(2, 3).start(doubles(0.25, 0.75, 0.5, 0.5, 0.0))
    np.testing.assert_allclose(torch.softmax(start[:2], 0), [0.25, 0.75], rtol=1e-12)
    np.testing.assert_allclose(torch.softmax(start[2:], 0), [0.5 / 1.001, 0.5 / 1.001, 0.001 / 1.001], rtol=1e-12)


def test_the_head_has_one_output_per_category():
    column = Column(name="a", kind="categorical", categories=("x", "y", "z"))
    assert Categorical.initial(column_data([0, 1, 2], column)) == CategoricalHead(size=3)
