"""Products with tangents, and the derivatives of the activation."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from anomaly_vae.training.bends import quadratic, shared_quadratic, silu_derivatives
from anomaly_vae.training.graph import Graph


def run(graph, inputs, outputs, **feed):
    session = onnxruntime.InferenceSession(graph.bytes("test", inputs, outputs), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {name: value.astype(np.float32) for name, value in feed.items()})


def test_products_with_a_diagonal_matrix_between():
    rng = np.random.default_rng(0)
    tangents, diagonal = rng.normal(size=(5, 3, 7)), rng.normal(size=(5, 7))
    graph = Graph()
    graph.add("Add", quadratic(graph, "t", "d"), graph.scalar(0.0), outputs=["out"])
    (got,) = run(graph, {"t": ["N", 3, 7], "d": ["N", 7]}, {"out": ["N", 3, 3]}, t=tangents, d=diagonal)
    expected = np.einsum("nlh,nh,nmh->nlm", tangents, diagonal, tangents)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("latent", [3, 20])  # with products of pairs of columns, and without
def test_tangents_that_all_rows_share(latent):
    rng = np.random.default_rng(0)
    tangents, diagonal = rng.normal(size=(latent, 6)), rng.normal(size=(4, 6))
    graph = Graph()
    shared = shared_quadratic(graph, torch.as_tensor(tangents), "d")
    graph.add("Add", shared, graph.scalar(0.0), outputs=["out"])
    (got,) = run(graph, {"d": ["N", 6]}, {"out": ["N", latent, latent]}, d=diagonal)
    np.testing.assert_allclose(got, np.einsum("lh,nh,mh->nlm", tangents, diagonal, tangents), rtol=1e-4, atol=1e-4)


def test_derivatives_of_the_activation():
    at = torch.linspace(-9.0, 9.0, 37, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(torch.nn.functional.silu(at).sum(), at, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), at)
    graph = Graph()
    one, two = silu_derivatives(graph, "x", graph.add("Sigmoid", "x"))
    graph.add("Add", one, graph.scalar(0.0), outputs=["first"])
    graph.add("Add", two, graph.scalar(0.0), outputs=["second"])
    got = run(graph, {"x": ["N"]}, {"first": ["N"], "second": ["N"]}, x=at.detach().numpy())
    np.testing.assert_allclose(got[0], first.detach(), atol=1e-5)
    np.testing.assert_allclose(got[1], second, atol=1e-5)
