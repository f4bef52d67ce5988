"""The derivatives of every head in the posterior graph, against torch's own and against those in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly_vae.columns.heads import HEADS
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.derivatives import Derivatives
from anomaly_vae.training.torch_heads.table import TableHead
from tests.support.graphs import run_graph
from tests.support.models import COLUMNS, columns_of, features_of, rows_of

# Two columns of each kind.
EXAMPLES = {model.head.kind(): (name, name) for name, (_, model) in COLUMNS.items()}
KINDS = pytest.mark.parametrize("kind", sorted(HEADS))


def head_and_rows(kind, n=40, seed=0):
    """Return the head, features x and mask (N, F), and random parameters (N, P), all that float32 can hold exactly."""
    names = EXAMPLES[kind]
    (head,) = TableHead(columns_of(*names)).double().parts
    inputs = features_of(*names).encode(rows_of(n, *names))
    rng = np.random.default_rng(seed)
    params = rng.normal(size=(n, head.block.num_params)) * rng.choice([0.1, 1.0, 4.0], size=(n, 1))
    mask = inputs.mask.copy()
    mask[::3, : head.block.num_features // 2] = 0.0  # the first of the two columns
    x = inputs.x.astype(np.float32).astype(np.float64)
    return head, x, mask, params.astype(np.float32).astype(np.float64)


def computed(head, x, mask, params):
    """Run the nodes of the head in float32."""
    graph = Graph()
    names = head.onnx_derivatives(graph, "params", "x", "mask")
    return Derivatives(*(run_graph(graph, name, x=x, mask=mask, params=params).astype(np.float64) for name in names))


def by_torch(head, x, mask, params):
    """Return slope and the diagonal of the curvature by torch's automatic differentiation in float64, (N, P)."""
    slopes, curvatures = [], []
    for row in zip(x, mask, params, strict=True):
        value, present, at = (torch.as_tensor(each) for each in row)

        def log_prob(p, value=value, present=present):
            return head(value, p, present)

        slopes.append(torch.autograd.functional.jacobian(log_prob, at).numpy())
        curvatures.append(-torch.autograd.functional.hessian(log_prob, at).diagonal().numpy())
    return np.array(slopes), np.array(curvatures)


@KINDS
def test_slope_and_curvature_are_those_of_torch(kind):
    """The curvature is that of each parameter alone: the diagonal."""
    given = head_and_rows(kind)
    got, (slope, curvature) = computed(*given), by_torch(*given)
    np.testing.assert_allclose(got.slope, slope, rtol=1e-4, atol=1e-5 * np.abs(slope).max())
    np.testing.assert_allclose(got.curvature, curvature, rtol=1e-4, atol=1e-5 * np.abs(curvature).max())
    assert np.abs(slope).max() > 0.1


@KINDS
def test_the_information_is_that_of_the_likelihood_and_never_negative(kind):
    head, x, mask, params = head_and_rows(kind)
    got = computed(head, x, mask, params)
    expected = HEADS[kind].likelihood(head.heads()).information(x, mask, params)
    np.testing.assert_allclose(got.information, expected, rtol=2e-4, atol=1e-5 * np.abs(expected).max())
    assert np.all(got.information >= 0.0)


@KINDS
def test_missing_cells_have_no_derivatives(kind):
    head, x, mask, params = head_and_rows(kind)
    for values in computed(head, x, np.zeros_like(mask), params):
        assert not values.any()
    missing = computed(head, x, mask, params)
    full = computed(head, x, np.ones_like(mask), params)
    size = head.block.num_params
    first = np.arange(size) % (size // HEADS[kind].params_per_feature) < head.block.num_features // 2
    for values, complete in zip(missing, full, strict=True):
        assert not values[::3][:, first].any()
        np.testing.assert_array_equal(values[::3][:, ~first], complete[::3][:, ~first])


@KINDS
@pytest.mark.parametrize("size", [1e4, 1e9])
def test_derivatives_are_finite_far_out(kind, size):
    """Parameters and values; exp overflows at 89 in float32."""
    head, x, mask, params = head_and_rows(kind)
    signs = np.sign(params)
    for values in computed(head, x, mask, size * signs):
        assert np.isfinite(values).all()
    if HEADS[kind].takes_transform:
        got = computed(head, size * np.sign(x), mask, params)
        assert all(np.isfinite(values).all() for values in got)
        assert np.all(got.information >= 0.0)


@pytest.mark.parametrize("kind", ["gaussian", "logistic", "student_t"])
@pytest.mark.parametrize("size", [1e18, 1e25])
def test_derivatives_are_finite_where_float32_cannot_hold_a_square(kind, size):
    """1e25 squared is infinite."""
    head, x, mask, params = head_and_rows(kind)
    got = computed(head, size * np.sign(x), mask, params)
    assert np.isfinite(got.slope).all()
    assert np.all(got.information >= 0.0)
    if size < 1e19 or kind == "gaussian":
        assert np.isfinite(got.information).all()


@pytest.mark.parametrize(("kind", "negative"), [("student_t", True), ("gaussian", False), ("logistic", False)])
def test_only_under_student_s_t_is_the_curvature_of_an_outlier_negative(kind, negative):
    """-log p is concave far from the middle: log(1 + t^2 / nu) bends down for t^2 > nu."""
    head, x, mask, params = head_and_rows(kind)
    got = computed(head, x + 20.0, np.ones_like(mask), params)
    assert np.all(got.curvature < 0.0) == negative
    assert np.any(got.curvature < 0.0) == negative
    assert np.all(got.slope > 0.0)


def test_far_out_student_s_t_and_logistic_hardly_pull():
    """The slope of Student's t goes to 0, that of the logistic distribution to a constant, that of a Gaussian grows."""
    slopes = {}
    for kind in ("student_t", "logistic", "gaussian"):
        head, x, mask, params = head_and_rows(kind)
        near, far = (computed(head, x + shift, np.ones_like(mask), params).slope for shift in (20.0, 2000.0))
        slopes[kind] = (far / near).ravel()
    assert slopes["student_t"].max() < 0.05
    np.testing.assert_allclose(slopes["logistic"], 1.0, rtol=1e-4)
    assert slopes["gaussian"].min() > 50.0
