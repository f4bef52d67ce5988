"""The decoder's output in the log-joint graph, for all pairs of a row and a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from anomaly_vae.columns.layout import Block
from anomaly_vae.training.graph import Graph

__all__ = ["DecoderGraph", "GivenParams", "ParamsGraph", "linear_layer", "weighted_sum"]


class ParamsGraph(Protocol):
    """Adds the parameters of p(x|z) to a graph, block by block."""

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """Add the parameters of a block, or some of them, shape (N or 1, S, P)."""
        ...

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """Add x minus the parameters of a block, or minus some of them, shape (N, S, G)."""
        ...


class GivenParams:
    """Parameters that the graph already has: one vector for each row, (N, P), or vectors for all rows, (S, P)."""

    def __init__(self, graph: Graph, blocks: Sequence[Block], params: str, *, shared: bool) -> None:
        """Split the parameters into those of each block."""
        self._graph, self._new_axis = graph, 0 if shared else 1
        found = graph.split(params, [block.num_params for block in blocks], axis=1)
        self.parts = {block.kind: part for block, part in zip(blocks, found, strict=True)}

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`; the result has the shape (N, 1, P), or (1, S, P) if all rows share it."""
        start, stop, _ = places.indices(block.num_params)
        sizes = [size for size in (start, stop - start, block.num_params - stop) if size]
        pieces = self._graph.split(self.parts[block.kind], sizes, axis=1)
        return self._graph.add("Unsqueeze", pieces[1 if start else 0], self._graph.integers([self._new_axis]))

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        rows = self._graph.add("Unsqueeze", x, self._graph.integers([1]))
        return self._graph.add("Sub", rows, self.params(block, places))


class DecoderGraph:
    """Adds the decoder's output to a graph block by block, which is cheaper than to split it afterwards."""

    def __init__(self, graph: Graph, decoder: nn.Sequential) -> None:
        """Add the hidden layers; the first and the last layer are Linear, perhaps the same."""
        self._graph = graph
        self._first, self._last = linear_layer(decoder[0]), linear_layer(decoder[-1])
        if self._first is not self._last:
            self._hidden = self._last_hidden(decoder)

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """Add the parameters of a block, or some of them, shape (N, S, P)."""
        weight, bias = self._layer(block, places)
        if self._first is self._last:
            return _first_layer(self._graph, weight, bias)
        product = self._graph.add("MatMul", self._hidden, self._graph.weight(weight.T))
        return self._graph.add("Add", product, self._graph.weight(bias))

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """Add x minus the parameters of a block, or minus some of them, shape (N, S, G)."""
        graph = self._graph
        weight, bias = self._layer(block, places)
        if self._first is self._last:
            minus, target = _first_layer(graph, -weight, -bias), x
        else:
            minus = graph.add("MatMul", self._hidden, graph.weight(-weight.T))
            target = graph.add("Sub", x, graph.weight(bias))
        return graph.add("Add", minus, graph.add("Unsqueeze", target, graph.integers([1])))

    def _layer(self, block: Block, places: slice) -> tuple[Tensor, Tensor]:
        return self._last.weight[block.params][places], self._last.bias[block.params][places]

    def _last_hidden(self, decoder: nn.Sequential) -> str:
        """Add the input of the last layer, shape (N, S, H)."""
        graph, first, last = self._graph, self._first, self._last
        hidden = _first_layer(graph, first.weight, first.bias)
        flat = graph.add("Reshape", hidden, graph.integers([-1, first.out_features]))
        flat = graph.mlp(nn.Sequential(*list(decoder)[1:-1]), flat)
        rows = graph.add("Shape", "x", start=0, end=1)
        tile = graph.add("Concat", rows, graph.integers([-1, last.in_features]), axis=0)
        return graph.add("Reshape", flat, tile)


def weighted_sum(graph: Graph, terms: str, weights: str) -> str:
    """Add sums over the last axis, (N, S, G) and (N, G) -> (N, S)."""
    two = graph.integers([2])
    return graph.add("Squeeze", graph.add("MatMul", terms, graph.add("Unsqueeze", weights, two)), two)


def _first_layer(graph: Graph, weight: Tensor, bias: Tensor) -> str:
    """Add (noise, 1) times (scale W; loc W + b), which is W z + b of all pairs, shape (N, S, H).

    The noise is (1, S, L) for points that all rows share, or (N, S, L).
    """
    matrix, one = graph.weight(weight.T), graph.integers([1])
    scaled = graph.add("Mul", graph.add("Unsqueeze", "scale", graph.integers([2])), matrix)
    shift = graph.add("Unsqueeze", graph.add("Gemm", "loc", matrix, graph.weight(bias)), one)
    zeros = graph.add("Mul", graph.add("ReduceSum", "noise", graph.integers([2]), keepdims=1), graph.scalar(0.0))
    ones = graph.add("Add", zeros, graph.scalar(1.0))
    return graph.add("MatMul", graph.add("Concat", "noise", ones, axis=2), graph.add("Concat", scaled, shift, axis=1))


def linear_layer(layer: nn.Module) -> nn.Linear:
    """Return the layer as what a decoder starts and ends with; raise TypeError if it is something else."""
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"a decoder starts and ends with Linear, got {type(layer).__name__}")
    return layer
