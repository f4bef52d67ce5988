"""The matrix products and convolutions of a decoder alone, as a bound on the speed of scoring."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from anomaly_vae.training.graph import Graph
from anomaly_vae.training.layer_graphs import add_layers

__all__ = ["ConvolutionFloor", "Floor"]

# Pairs of row and sample in a call, as in the product.
_TILE_PAIRS = 2048


class Floor:
    """The matrix products of a decoder's layers in onnxruntime, without biases and activations."""

    def __init__(self, weights: Sequence[np.ndarray]) -> None:
        """Take the weights of the layers in their order, each (inputs, outputs)."""
        names = ["z", *(f"v{i}" for i in range(len(weights)))]
        nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(len(weights))]
        constants = [numpy_helper.from_array(np.ascontiguousarray(w), f"w{i}") for i, w in enumerate(weights)]
        shapes = [(_TILE_PAIRS, weights[0].shape[0]), (_TILE_PAIRS, weights[-1].shape[1])]
        ends = zip((names[0], names[-1]), shapes, strict=True)
        first, last = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
        graph = helper.make_graph(nodes, "floor", [first], [last], initializer=constants)
        onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        self._load(onnx_model.SerializeToString(), shapes[0])

    def _load(self, onnx_model: bytes, shape: tuple[int, int]) -> None:
        """Make the session, and the z of a call."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx_model, options)
        self._z = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    @classmethod
    def of_shapes(cls, shapes: Sequence[tuple[int, int]]) -> Self:
        """Return the floor of layers with these inputs and outputs, and with random weights."""
        rng = np.random.default_rng(0)
        return cls([rng.normal(size=shape, scale=shape[0] ** -0.5).astype(np.float32) for shape in shapes])

    def run(self, pairs: int, threads: int) -> None:
        """Multiply for this number of pairs of row and sample, one call at a time in each thread."""
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(lambda _: self._session.run(None, {"z": self._z}), range(pairs // len(self._z))):
                pass

    def seconds_per_pair(self, pairs: int, turns: int) -> float:
        """Return the seconds of one pair of row and sample on one thread, in the best of some turns."""
        seconds = []
        for _ in range(turns):
            start = time.perf_counter()
            self.run(pairs, threads=1)
            seconds.append(time.perf_counter() - start)
        return min(seconds) / (pairs // len(self._z) * len(self._z))


class ConvolutionFloor(Floor):
    """The matrix product and the convolutions of a decoder in onnxruntime, without biases and activations."""

    def __init__(self, decoder: nn.Sequential, tile_pairs: int) -> None:
        """Take the layers of a decoder, and the pairs of row and sample of a call."""
        first, *others = decoder
        graph, latent, width = Graph(), first.in_features, first.out_features
        products = graph.add("MatMul", "z", graph.weight(first.weight.T))
        layers = [copy.deepcopy(each) for each in others if isinstance(each, (nn.Unflatten, nn.ConvTranspose2d))]
        for layer in layers:
            if isinstance(layer, nn.ConvTranspose2d):
                layer.bias = None
        add_layers(graph, nn.Sequential(*layers), products, (width,), ["planes"])
        shape = nn.Sequential(*layers)(first.weight.new_zeros(1, width)).shape[1:]
        onnx_model = graph.bytes("floor", {"z": [tile_pairs, latent]}, {"planes": [tile_pairs, *shape]})
        self._load(onnx_model, (tile_pairs, latent))
