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
    r"""The hot path: :math:`\log p(x, z) = \log p(z) + \sum_d m_d \log p(x_d \mid z)`, all pairs of a tile at once."""
    graph, latent, columns = _Graph(), vae.latent_dim, _num_columns(vae)
    one = graph.integers([1])
    shifted = graph.add("Mul", graph.add("Unsqueeze", "scale", one), "noise")
    z = graph.add("Add", graph.add("Unsqueeze", "loc", one), shifted)
    log_prior = _half_negative(graph, graph.sum(graph.add("Mul", z, z)), latent * math.log(2.0 * math.pi))

    flat = graph.mlp(vae.decoder, graph.add("Reshape", z, graph.integers([-1, latent])))
    tile = graph.add("Concat", graph.add("Shape", "x", start=0, end=1), graph.integers([-1, columns]), axis=0)
    residual = graph.add("Sub", graph.add("Unsqueeze", "x", one), graph.add("Reshape", flat, tile))
    log_var = vae.head.log_var.detach().double().cpu().numpy()
    precision = graph.add("Unsqueeze", graph.add("Mul", "mask", graph.weight(np.exp(-log_var))), graph.integers([2]))
    squares = graph.add("MatMul", graph.add("Mul", residual, residual), precision)
    constant = graph.add("MatMul", "mask", graph.weight((math.log(2.0 * math.pi) + log_var)[:, None]))
    terms = graph.add("Add", graph.add("Squeeze", squares, graph.integers([2])), constant)
    log_likelihood = _half_negative(graph, terms, 0.0)
    graph.add("Add", log_prior, log_likelihood, outputs=["log_joint"])
    inputs: dict[str, list[str | int]] = {
        "x": ["N", columns],
        "mask": ["N", columns],
        "loc": ["N", latent],
        "scale": ["N", latent],
        "noise": ["S", latent],
    }
    return graph.bytes("log_joint", inputs, {"log_joint": ["N", "S"]})


def _half_negative(graph: _Graph, value: str, constant: float) -> str:
    total = graph.add("Add", value, graph.scalar(constant)) if constant else value
    return graph.add("Mul", total, graph.scalar(-0.5))


def _num_columns(vae: VAE) -> int:
    return len(vae.head.log_var)


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

    def sum(self, value: str) -> str:
        return self.add("ReduceSum", value, self.integers([-1]), keepdims=0)

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
