"""The trained networks as ONNX graphs of standard operators, noise an input of the graph.

The graphs are written node by node rather than traced: a traced graph carries file names of the machine that made it,
takes seconds, and its nodes change with the version of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from anomaly_vae.training.networks import INPUT_LIMIT, LOG_VAR_LIMIT
from anomaly_vae.training.vae import VAE

__all__ = ["export_graphs"]

_OPSET = 18
_IR_VERSION = 9


def export_graphs(vae: VAE) -> dict[str, bytes]:
    """ONNX bytes of encoder, decoder and log-joint, by file name."""
    return {
        "encoder.onnx": _encoder(vae),
        "decoder.onnx": _decoder(vae),
        "log_joint.onnx": _log_joint(vae),
    }


def _encoder(vae: VAE) -> bytes:
    graph, latent = _Graph(), vae.latent_dim
    cut = graph.add("Clip", "x", graph.scalar(-INPUT_LIMIT), graph.scalar(INPUT_LIMIT))
    both = graph.mlp(vae.encoder.net, graph.add("Mul", cut, "mask"))
    halves = graph.integers([latent, latent])
    graph.add("Split", both, halves, outputs=["loc", "raw_log_var"], axis=-1)
    low, high = LOG_VAR_LIMIT
    graph.add("Clip", "raw_log_var", graph.scalar(low), graph.scalar(high), outputs=["log_var"])
    row: list[str | int] = ["N", _num_columns(vae)]
    return graph.bytes("encoder", {"x": row, "mask": row}, {"loc": ["N", latent], "log_var": ["N", latent]})


def _decoder(vae: VAE) -> bytes:
    graph = _Graph()
    graph.mlp(vae.decoder, "z", output="loc")
    return graph.bytes("decoder", {"z": ["N", vae.latent_dim]}, {"loc": ["N", _num_columns(vae)]})


def _log_joint(vae: VAE) -> bytes:
    r"""The hot path: :math:`\log p(x, z) = \log p(z) + \sum_d m_d \log p(x_d \mid z)`, all pairs of a tile at once.

    z itself is never made: with :math:`z = \mu + \sigma \odot e`, the first layer's :math:`W z + b` is the product of
    (e, 1) with one matrix a row, and log p(z) is linear in (e, e^2). What costs beside the large products are passes
    over an entry per pair and column, so there are as few of them as can be.
    """
    graph, latent, columns = _Graph(), vae.latent_dim, _num_columns(vae)
    one = graph.integers([1])
    first, last = _linear(vae.decoder[0]), _linear(vae.decoder[-1])
    hidden = _first_layer(graph, first)
    if first is last:
        minus_loc, target = graph.add("Mul", hidden, graph.scalar(-1.0)), "x"
    else:
        flat = graph.add("Reshape", hidden, graph.integers([-1, first.out_features]))
        flat = graph.mlp(nn.Sequential(*list(vae.decoder)[1:-1]), flat)
        tile = graph.add(
            "Concat", graph.add("Shape", "x", start=0, end=1), graph.integers([-1, last.in_features]), axis=0
        )
        minus_loc = graph.add("MatMul", graph.add("Reshape", flat, tile), graph.weight(-last.weight.T))
        target = graph.add("Sub", "x", graph.weight(last.bias))
    residual = graph.add("Add", minus_loc, graph.add("Unsqueeze", target, one))

    log_var = vae.head.log_var.detach().double().cpu().numpy()
    half_precision = graph.add("Mul", "mask", graph.weight(-0.5 * np.exp(-log_var)))
    squares = graph.add("Mul", residual, residual)
    weighted = graph.add("MatMul", squares, graph.add("Unsqueeze", half_precision, graph.integers([2])))
    constant = graph.add("MatMul", "mask", graph.weight(-0.5 * (math.log(2.0 * math.pi) + log_var)[:, None]))
    log_likelihood = graph.add("Add", graph.add("Squeeze", weighted, graph.integers([2])), constant)
    graph.add("Add", _log_prior(graph, latent), log_likelihood, outputs=["log_joint"])
    inputs: dict[str, list[str | int]] = {
        "x": ["N", columns],
        "mask": ["N", columns],
        "loc": ["N", latent],
        "scale": ["N", latent],
        "noise": ["S", latent],
    }
    return graph.bytes("log_joint", inputs, {"log_joint": ["N", "S"]})


def _first_layer(graph: _Graph, layer: nn.Linear) -> str:
    """(noise, 1) times (scale W; loc W + b), shape (N, S, H)."""
    weight, one = graph.weight(layer.weight.T), graph.integers([1])
    scaled = graph.add("Mul", graph.add("Unsqueeze", "scale", graph.integers([2])), weight)
    shift = graph.add("Unsqueeze", graph.add("Gemm", "loc", weight, graph.weight(layer.bias)), one)
    zeros = graph.add("Mul", graph.add("ReduceSum", "noise", one, keepdims=1), graph.scalar(0.0))
    ones = graph.add("Add", zeros, graph.scalar(1.0))
    return graph.add("MatMul", graph.add("Concat", "noise", ones, axis=1), graph.add("Concat", scaled, shift, axis=1))


def _log_prior(graph: _Graph, latent_dim: int) -> str:
    """log N(loc + scale noise; 0, I) as one product, (loc^2, loc scale, scale^2) times (1, 2 noise, noise^2), (N, S).

    Not with a sum over loc^2: onnxruntime's sums over short rows change their bits with the row's address.
    """
    ones = graph.add("Add", graph.add("Mul", "noise", graph.scalar(0.0)), graph.scalar(1.0))
    powers = graph.add("Concat", ones, graph.add("Add", "noise", "noise"), graph.add("Mul", "noise", "noise"), axis=1)
    squares = [graph.add("Mul", one, other) for one, other in (("loc", "loc"), ("loc", "scale"), ("scale", "scale"))]
    minus_half = graph.add("Mul", graph.add("Concat", *squares, axis=1), graph.scalar(-0.5))
    constant = graph.scalar(-0.5 * latent_dim * math.log(2.0 * math.pi))
    return graph.add("Gemm", minus_half, powers, constant, transB=1)


def _num_columns(vae: VAE) -> int:
    return len(vae.head.log_var)


def _linear(layer: nn.Module) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"a decoder starts and ends with Linear, got {type(layer).__name__}")
    return layer


class _Graph:
    """A list of nodes under construction; every method returns the name of the value it made."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: int) -> str:
        names = list(outputs) or [f"v{len(self._nodes)}"]
        self._nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0]

    def weight(self, array: NDArray[np.floating] | Tensor) -> str:
        values = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
        return self._constant(values.astype(np.float32))

    def scalar(self, value: float) -> str:
        return self._constant(np.asarray(value, dtype=np.float32))

    def integers(self, values: list[int]) -> str:
        return self._constant(np.asarray(values, dtype=np.int64))

    def mlp(self, net: nn.Sequential, value: str, output: str | None = None) -> str:
        for i, layer in enumerate(net):
            outputs = [output] if output and i == len(net) - 1 else []
            if isinstance(layer, nn.Linear):
                weights = self.weight(layer.weight.T), self.weight(layer.bias)
                value = self.add("Gemm", value, *weights, outputs=outputs)
            elif isinstance(layer, nn.SiLU):
                value = self.add("Mul", value, self.add("Sigmoid", value), outputs=outputs)
            else:
                raise TypeError(f"no ONNX form for the layer {type(layer).__name__}")
        return value

    def bytes(self, name: str, inputs: dict[str, list[str | int]], outputs: dict[str, list[str | int]]) -> bytes:
        infos = [
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in values.items()]
            for values in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, name, *infos, initializer=self._weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="anomaly_vae",
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def _constant(self, array: NDArray[np.generic]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name))
        return name
