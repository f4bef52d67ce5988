"""The Bernoulli head in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.columns.heads import LOGIT_LIMIT, BernoulliHead
from anomaly_vae.columns.schema import Column
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.torch_heads.bernoulli import Bernoulli
from tests.support.training import column_data, doubles, head_of


def test_the_density_is_scipys_summed_over_the_columns_that_are_present():
    head = head_of("bernoulli", "bernoulli")
    x, logits = doubles([0.0, 1.0], [1.0, 1.0]), doubles([0.3, -2.0], [0.3, -2.0])
    terms = stats.bernoulli(1.0 / (1.0 + np.exp(-logits.numpy()))).logpmf(x.numpy())
    np.testing.assert_allclose(head(x, logits, torch.ones_like(x)), terms.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(head(x, logits, doubles([1.0, 0.0])), terms[:, 0], rtol=1e-12)


def test_a_certain_and_wrong_prediction_has_a_finite_loss():
    """The logits are clipped: one wrong row must not decide about the model."""
    loss = head_of("bernoulli")(doubles([0.0]), doubles([1e9]), doubles([1.0]))
    assert float(loss) == pytest.approx(-LOGIT_LIMIT, rel=1e-3)


def test_training_starts_at_the_shares_of_the_column():
    start = head_of("bernoulli").start(doubles(0.3, 0.0, 1.0))
    np.testing.assert_allclose(torch.sigmoid(start), [0.3, 0.001, 0.999], rtol=1e-9)  # shares of 0 and 1 are not exact


def test_only_binary_columns_are_accepted():
    assert Bernoulli.initial(column_data([0, 1], Column(name="a", kind="binary"))) == BernoulliHead()
    with pytest.raises(
        ConfigError, match="likelihood 'bernoulli': column 'a' holds values such as 7, not just 0 and 1"
    ):
        Bernoulli.initial(column_data([0, 7, 1]))
