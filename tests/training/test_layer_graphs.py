"""Graphs of convolutional models against torch and its automatic differentiation."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.density.network import Posterior
from anomaly_vae.training.convolutions import FromPlanes, ToPlanes
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.layer_graphs import ChainGraph, add_layers
from anomaly_vae.training.vae import VAE
from tests.support.graphs import run_graph
from tests.support.shapes import inputs_of, shaped_vae

# Planes of windows and images: odd sizes, sizes that are not halved, and one stage or more.
CASES = [
    ((1, 16), ("learned",), {}),
    ((1, 13), ("learned", "student_t"), {"levels": True}),
    ((1, 21), ("fixed", "bernoulli"), {"levels": True, "residual": True}),
    ((7, 7), ("learned",), {"residual": True}),
    ((5, 9), ("conditional",), {}),
    ((6, 3), ("learned", "bernoulli", "student_t"), {}),
    ((9, 1), ("learned",), {"channels": (4,)}),
    ((12, 12), ("learned",), {"channels": (3, 4, 5), "kernel": 6}),
]
EVERY_CASE = pytest.mark.parametrize(("plane", "heads", "plan"), CASES, ids=lambda value: str(value)[:30])


def sessions_of(vae):
    graphs = export_graphs(vae)
    for name, data in graphs.items():
        check_graph(data, name)  # the reader of bundles accepts it
    return {
        name.removesuffix(".onnx"): onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        for name, data in graphs.items()
    }


def doubles(*arrays):
    return [torch.as_tensor(array.astype(np.float64)) for array in arrays]


def assert_near(got, expected, tolerance=2e-5):
    expected = np.asarray(expected.detach() if isinstance(expected, torch.Tensor) else expected)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=tolerance * max(1.0, np.abs(expected).max()))


@EVERY_CASE
def test_encoder_decoder_and_log_joint_are_those_of_torch(plane, heads, plan):
    vae = shaped_vae(plane, heads, **plan)
    double, sessions = VAE.in_float64(vae), sessions_of(vae)
    x, mask = inputs_of(vae)
    loc, log_var = sessions["encoder"].run(None, {"x": x, "mask": mask})
    for got, expected in zip((loc, log_var), double.encoder(*doubles(x, mask)), strict=True):
        assert_near(got, expected)
    z = np.random.default_rng(1).normal(size=(6, 16, 4)).astype(np.float32)
    (params,) = sessions["decoder"].run(None, {"z": z[:, 0]})
    assert_near(params, double.decode(*doubles(z[:, 0])))
    feed = {"x": x, "mask": mask, "loc": np.zeros_like(loc), "scale": np.ones_like(loc), "noise": z}
    (log_joint,) = sessions["log_joint"].run(None, feed)
    zeros, ones = doubles(np.zeros((6, 4)), np.ones((6, 4)))
    assert_near(log_joint, double.log_joint(*doubles(x, mask), zeros, ones, *doubles(z)))


@EVERY_CASE
@pytest.mark.parametrize("components", [0, 3])
def test_the_posterior_has_the_derivatives_of_torch(plane, heads, plan, components):
    vae = shaped_vae(plane, heads, components=components, **plan)
    double, session = VAE.in_float64(vae), sessions_of(vae)["posterior"]
    x, mask = inputs_of(vae, n=4)
    z = 0.5 * np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    got = Posterior(*session.run(list(Posterior._fields), {"x": x, "mask": mask, "z": z}))
    for i in range(4):
        of_x, of_mask, at = doubles(x[i], mask[i], z[i])

        def log_joint(z, of_x=of_x, of_mask=of_mask):
            head = double.head
            return head.log_prob(of_x, double.decode(z), of_mask) - head.base(of_x, of_mask) + double.prior.log_prob(z)

        assert_near(got.log_joint[i, 0], log_joint(at))
        assert_near(got.gradient[i], torch.autograd.functional.jacobian(log_joint, at), 2e-4)
        if "conditional" not in heads:  # its curvature leaves out mixed derivatives
            assert_near(got.curvature[i], -torch.autograd.functional.hessian(log_joint, at), 2e-4)
        assert np.linalg.eigvalsh(got.information[i].astype(np.float64)).min() > 0.0


def test_planes_and_parameters_are_inverse_arrangements():
    """For heads with one parameter, the parameters of a cell stand where its features stand."""
    vae = shaped_vae((3, 4), ("learned", "bernoulli", "learned"))
    blocks = vae.head.layout.blocks
    to_planes, from_planes = ToPlanes(blocks, (3, 4)), FromPlanes(blocks, (3, 4))
    x = torch.arange(2.0 * vae.head.layout.num_features).reshape(2, -1)
    planes = to_planes(x)
    assert planes.shape == (2, 3, 3, 4)
    assert torch.equal(from_planes(planes), x)
    # Cells come by pixel, then by channel: the two channels of the first block alternate.
    assert planes[0, 0].ravel().tolist() == list(range(0, 24, 2))
    assert planes[0, 1].ravel().tolist() == list(range(1, 24, 2))


def test_dropout_is_not_in_the_graph_and_other_layers_are_refused():
    graph = Graph()
    net = nn.Sequential(nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(12, 2))
    assert add_layers(graph, net, "x", (3, 2, 2)) == "v1"
    with pytest.raises(TypeError, match="no ONNX form for the layer Softmax"):
        ChainGraph(graph, nn.Sequential(nn.Softmax(dim=1)), (3,))


def test_dense_layers_compute_what_torch_computes():
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, graph = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 3)), Graph()
    assert add_layers(graph, net, "x", (6,), outputs=["y"]) == "y"
    np.testing.assert_allclose(run_graph(graph, "y", x=x), net(torch.as_tensor(x)).detach(), rtol=1e-5, atol=1e-6)
