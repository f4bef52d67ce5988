r"""Layers in a graph: their value, and how tangents and slopes pass through them.

A tangent is a derivative by one latent dimension, and goes forward: a layer f turns t into f'(x) t. A slope is the
derivative of log p(x|z) by a layer's output, and goes back: f'(x)^T s. Activations are the only layers that bend, so
each of them adds one term to the curvature of log p(x|z) in z:

.. math:: T^\top \mathrm{diag}(s\, \phi''(a))\, T

with :math:`a` the activation's input, :math:`T` its Jacobian by z and :math:`s` the slope of its output.

References:
    Fast Exact Multiplication by the Hessian (Pearlmutter, 1994)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from anomaly_vae.training.bends import quadratic, shared_quadratic, silu_derivatives
from anomaly_vae.training.convolutions import FromPlanes, Residual
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.planes_graph import add_parameters
from anomaly_vae.training.tangents import LayerGraph, Tangents

__all__ = ["ChainGraph", "add_layers"]


class ChainGraph:
    """Layers one after the other; it is a layer itself."""

    def __init__(self, graph: Graph, net: nn.Sequential, dims: tuple[int, ...], latent: int = 0) -> None:
        """Take the layers.

        Args:
            graph: Where nodes are added.
            net: The layers.
            dims: Shape of the input of one row.
            latent: L, for tangents.

        Raises:
            TypeError: A layer has no ONNX form.
        """
        self._layers: list[LayerGraph] = []
        for layer in net:
            if isinstance(layer, (nn.Dropout, nn.Dropout2d)):
                continue  # it acts in training only
            self._layers.append(_layer_graph(graph, layer, dims, latent))
            dims = _dims_after(layer, dims)
        self.dims = dims

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        """See the protocol."""
        for i, layer in enumerate(self._layers):
            value = layer.value(value, outputs if i == len(self._layers) - 1 else ())
        return value

    def push(self, tangents: Tangents) -> Tangents:
        """See the protocol."""
        for layer in self._layers:
            tangents = layer.push(tangents)
        return tangents

    def pull(self, slope: str) -> str:
        """See the protocol."""
        for layer in reversed(self._layers):
            slope = layer.pull(slope)
        return slope

    def bends(self) -> list[str]:
        """See the protocol."""
        return [term for layer in reversed(self._layers) for term in layer.bends()]


def add_layers(graph: Graph, net: nn.Sequential, value: str, dims: tuple[int, ...], outputs: Sequence[str] = ()) -> str:
    """Add the layers of a network at inputs (N, ...).

    Raises:
        TypeError: A layer has no ONNX form.
    """
    return ChainGraph(graph, net, dims).value(value, outputs)


class _Layer:
    def __init__(self, graph: Graph, dims: tuple[int, ...], latent: int) -> None:
        self._graph, self._dims, self._latent = graph, dims, latent

    def bends(self) -> list[str]:
        """See :class:`LayerGraph`: most layers are linear."""
        return []

    def _reshaped(self, value: str, *dims: int) -> str:
        return self._graph.add("Reshape", value, self._graph.integers([-1, *dims]))


class _Dense(_Layer):
    def __init__(self, graph: Graph, layer: nn.Linear, dims: tuple[int, ...], latent: int) -> None:
        super().__init__(graph, dims, latent)
        self._weight, self._bias = layer.weight, layer.bias

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        weights = self._graph.weight(self._weight.T), self._graph.weight(self._bias)
        return self._graph.add("Gemm", value, *weights, outputs=outputs)

    def push(self, tangents: Tangents) -> Tangents:
        if tangents.shared is not None:
            return Tangents("", tangents.shared @ self._weight.T)
        return Tangents(self._graph.add("MatMul", tangents.name, self._graph.weight(self._weight.T)))

    def pull(self, slope: str) -> str:
        return self._graph.add("MatMul", slope, self._graph.weight(self._weight))


class _Silu(_Layer):
    """x s(x), with s the logistic function."""

    _first, _second, _tangents = "", "", Tangents("")

    def __init__(self, graph: Graph, dims: tuple[int, ...], latent: int) -> None:
        super().__init__(graph, dims, latent)
        self._bends: list[str] = []

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        self._input, self._sigmoid = value, self._graph.add("Sigmoid", value)
        return self._graph.add("Mul", value, self._sigmoid, outputs=outputs)

    def push(self, tangents: Tangents) -> Tangents:
        graph, size = self._graph, math.prod(self._dims)
        self._first, self._second = silu_derivatives(graph, self._input, self._sigmoid)
        by_row = graph.add("Unsqueeze", self._flat(self._first), graph.integers([1]))
        if tangents.shared is None:
            tangents = Tangents(self._reshaped(tangents.name, self._latent, size))
            below = tangents.name
        else:
            below = graph.weight(tangents.shared[None])
        self._tangents = tangents
        return Tangents(self._reshaped(graph.add("Mul", below, by_row), *self._dims))

    def pull(self, slope: str) -> str:
        bend = self._flat(self._graph.add("Mul", slope, self._second))
        if self._tangents.shared is None:
            self._bends.append(quadratic(self._graph, self._tangents.name, bend))
        else:
            self._bends.append(shared_quadratic(self._graph, self._tangents.shared, bend))
        return self._graph.add("Mul", slope, self._first)

    def bends(self) -> list[str]:
        return self._bends

    def _flat(self, value: str) -> str:
        return value if len(self._dims) == 1 else self._reshaped(value, math.prod(self._dims))


class _Reshape(_Layer):
    """Flatten or Unflatten."""

    def __init__(self, graph: Graph, dims: tuple[int, ...], after: tuple[int, ...], latent: int) -> None:
        super().__init__(graph, dims, latent)
        self._after = after

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        return self._graph.add("Reshape", value, self._graph.integers([-1, *self._after]), outputs=outputs)

    def push(self, tangents: Tangents) -> Tangents:
        return Tangents(self._reshaped(tangents.by_row(), *self._after))

    def pull(self, slope: str) -> str:
        return self._reshaped(slope, *self._dims)


class _Convolution(_Layer):
    """A convolution or a transposed one: each is the adjoint of the other with the same weight."""

    def __init__(self, graph: Graph, layer: nn.Conv2d | nn.ConvTranspose2d, dims: tuple[int, ...], latent: int) -> None:
        super().__init__(graph, dims, latent)
        self._layer, self._after = layer, _dims_after(layer, dims)

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        bias = [] if self._layer.bias is None else [self._graph.weight(self._layer.bias)]
        return self._forward(value, bias, outputs)

    def push(self, tangents: Tangents) -> Tangents:
        return Tangents(self._forward(tangents.by_row(), []))

    def pull(self, slope: str) -> str:
        layer, weight = self._layer, self._graph.weight(self._layer.weight)
        if isinstance(layer, nn.ConvTranspose2d):
            return self._graph.add("Conv", slope, weight, **_attributes(layer))
        attributes = _attributes(layer)
        strides, kernel, pads = attributes["strides"], attributes["kernel_shape"], attributes["pads"]
        sizes = zip(self._dims[1:], self._after[1:], strides, pads[:2], kernel, strict=True)
        extra = [before - ((after - 1) * s - 2 * p + k) for before, after, s, p, k in sizes]
        return self._graph.add("ConvTranspose", slope, weight, output_padding=extra, **attributes)

    def _forward(self, value: str, bias: list[str], outputs: Sequence[str] = ()) -> str:
        weight = self._graph.weight(self._layer.weight)
        if isinstance(self._layer, nn.Conv2d):
            return self._graph.add("Conv", value, weight, *bias, outputs=outputs, **_attributes(self._layer))
        extra, attributes = list(self._layer.output_padding), _attributes(self._layer)
        operands = (value, weight, *bias)
        return self._graph.add("ConvTranspose", *operands, outputs=outputs, output_padding=extra, **attributes)


class _Residual(_Layer):
    def __init__(self, graph: Graph, layer: Residual, dims: tuple[int, ...], latent: int) -> None:
        super().__init__(graph, dims, latent)
        self._body = ChainGraph(graph, layer.body, dims, latent)

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        return self._graph.add("Add", value, self._body.value(value), outputs=outputs)

    def push(self, tangents: Tangents) -> Tangents:
        body = self._body.push(tangents)
        return Tangents(self._graph.add("Add", tangents.by_row(), body.name))

    def pull(self, slope: str) -> str:
        return self._graph.add("Add", slope, self._body.pull(slope))

    def bends(self) -> list[str]:
        return self._body.bends()


class _Parameters(_Layer):
    def __init__(self, graph: Graph, layer: FromPlanes, dims: tuple[int, ...], latent: int) -> None:
        super().__init__(graph, dims, latent)
        self._layer = layer

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        bias = self._graph.weight(self._layer.bias)
        return self._graph.add("Add", add_parameters(self._graph, self._layer, value), bias, outputs=outputs)

    def push(self, tangents: Tangents) -> Tangents:
        return Tangents(add_parameters(self._graph, self._layer, tangents.by_row()))

    def pull(self, slope: str) -> str:
        graph, layer = self._graph, self._layer
        height, width = layer.plane
        cells = [planes * height * width for planes in layer.planes]
        parts = []
        for part, repeats, channels in zip(
            graph.split(slope, cells, axis=1), layer.repeats, layer.channels, strict=True
        ):
            by_cell = self._reshaped(part, repeats, height * width, channels)
            by_channel = graph.add("Transpose", by_cell, perm=[0, 1, 3, 2])
            parts.append(self._reshaped(by_channel, repeats * channels, height, width))
        return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _layer_graph(graph: Graph, layer: nn.Module, dims: tuple[int, ...], latent: int) -> LayerGraph:
    match layer:
        case nn.Linear():
            return _Dense(graph, layer, dims, latent)
        case nn.SiLU():
            return _Silu(graph, dims, latent)
        case nn.Flatten() | nn.Unflatten():
            return _Reshape(graph, dims, _dims_after(layer, dims), latent)
        case nn.Conv2d() | nn.ConvTranspose2d():
            return _Convolution(graph, layer, dims, latent)
        case Residual():
            return _Residual(graph, layer, dims, latent)
        case FromPlanes():
            return _Parameters(graph, layer, dims, latent)
    raise TypeError(f"no ONNX form for the layer {type(layer).__name__}")


@torch.no_grad()
def _dims_after(layer: nn.Module, dims: tuple[int, ...]) -> tuple[int, ...]:
    parameter = next(layer.parameters(), torch.zeros(()))
    return tuple(layer(parameter.new_zeros(1, *dims)).shape[1:])


def _attributes(layer: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, Any]:
    return {
        "kernel_shape": [int(size) for size in layer.kernel_size],
        "strides": [int(stride) for stride in layer.stride],
        "pads": [int(size) for size in layer.padding if not isinstance(size, str)] * 2,
    }
