"""The von Mises head in training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.columns.heads import VonMisesHead
from anomaly_vae.columns.schema import Column
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import RowParams
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.von_mises import VonMises
from tests.support.graphs import run_graph
from tests.support.training import column_data, doubles, head_of


def test_the_loss_is_scipys():
    head = head_of("cyclic", limit=50.0)
    x, params = doubles([math.cos(2.0), math.sin(2.0)]), doubles([-3.0, 4.0])
    expected = stats.vonmises(5.0 / math.hypot(1.0, 0.1), loc=math.atan2(4.0, -3.0)).logpdf(2.0)
    assert float(head(x, params, torch.ones_like(x))) == pytest.approx(expected, abs=1e-7)
    assert float(head(x, params, torch.zeros_like(x))) == 0.0


def test_float32_is_enough_at_the_largest_concentration():
    """log p is the small difference of two numbers near 1,000."""
    head, graph = head_of("cyclic", limit=1000.0), Graph()
    angles = np.linspace(-0.2, 0.2, 41)
    x, params = np.column_stack([np.cos(angles), np.sin(angles)]), np.tile([1e5, 0.0], (41, 1))
    given = RowParams(graph, [head.block], "params")
    got = run_graph(graph, head.onnx_log_prob(graph, given, "x", "mask"), x=x, mask=np.ones_like(x), params=params)
    expected = stats.vonmises(1000.0 / math.hypot(1.0, 0.01)).logpdf(angles)
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-3)


def test_an_output_far_beyond_the_limit_has_a_finite_loss_and_gradient():
    params = doubles([3e8, -1e9]).requires_grad_()
    loss = head_of("cyclic")(doubles([1.0, 0.0]), params, torch.ones(1, 2).double()).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(params.grad).all()


@pytest.mark.parametrize("concentration", [0.1, 1.0, 5.0, 40.0])
def test_training_starts_at_the_mean_direction_and_concentration(concentration):
    angles = np.random.default_rng(0).vonmises(2.0, concentration, size=20_000)
    start = head_of("cyclic").start(doubles(np.cos(angles).mean(), np.sin(angles).mean()))
    length = float(start.norm())
    assert length / math.hypot(1.0, length / 100.0) == pytest.approx(concentration, rel=0.15)
    assert math.atan2(start[1], start[0]) == pytest.approx(2.0, abs=0.3 if concentration < 1.0 else 0.05)


@pytest.mark.parametrize("mean", [[0.0, 0.0], [1.0, 0.0]])
def test_training_starts_at_a_finite_output(mean):
    """Without a mean direction at no concentration, and for a column of equal angles below the limit."""
    start = head_of("cyclic").start(doubles(*mean))
    assert float(start.norm()) < 1000.0


@pytest.mark.parametrize(
    ("values", "step", "limit"),
    [
        (np.arange(24.0), None, 100.0),
        (np.arange(24.0), 1.0 / 60.0, 100.0),
        (np.arange(24.0), 1.0, (math.pi / 24.0) ** -2),
        (np.arange(0.0, 24.0, 6.0), 6.0, (math.pi / 4.0) ** -2),
        ([21.0, 3.0], None, 100.0 / (-2.0 * math.log(math.cos(math.pi / 4.0)))),
        ([23.999, 0.001], None, 1000.0),
        ([1.0, 1.0], None, 1000.0),
    ],
)
def test_the_standard_deviation_is_at_least_a_tenth_of_the_columns_and_half_a_step(values, step, limit):
    """Where values are all around the circle it is a tenth of a radian, and it is never below 0.03 radians."""
    column = Column(name="a", kind="cyclic", period=24.0, step=step)
    head = VonMises.initial(column_data(values, column))
    assert head == VonMisesHead(period=24.0, limit=pytest.approx(limit), step=step)


def test_a_column_without_a_period_is_refused():
    with pytest.raises(ConfigError, match="column 'a' has no period"):
        VonMises.initial(column_data([1.0, 2.0]))
