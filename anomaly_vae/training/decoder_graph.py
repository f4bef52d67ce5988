"""Parameters of p(x|z) in a graph: at one sample of each row, or for all pairs of a row and a sample.

Axes: N rows, P parameters or G columns, S samples. Samples come last: onnxruntime adds and multiplies along long rows
of numbers many times faster than along short ones, and columns are few. An axis of length 1 at the end is slow too, so
one sample of each row has no axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.layout import Block
from anomaly_vae.training.graph import Graph, to_numpy

__all__ = ["ParamsGraph", "RowParams", "SampleParams", "decoder_params", "linear_layer", "shared_params"]


class ParamsGraph(Protocol):
    """The parameters of p(x|z), and what depends on the place of their axes.

    Values of columns have the shape (N, G, S), or (N or 1, P, S) for parameters; those of one sample a row have no S.
    """

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """Add the parameters of a block, or some of them."""
        ...

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """Add x (N, G) minus the parameters of a block, or minus some of them."""
        ...

    def constant(self, values: FloatArray) -> str:
        """Add a number for each column, (G,), in the shape that goes with values of columns."""
        ...

    def combined(self, values: str, matrix: NDArray[np.floating]) -> str:
        """Add the product of the columns of values with a matrix, (G, C)."""
        ...

    def weighted_sum(self, terms: str, weights: str, width: int) -> str:
        """Add sums over G = width columns with weights (N, G), of the shape (N, S); (N, 1) for one sample a row.

        They are products: onnxruntime's own sums over short rows change their bits with the row's address in memory.
        """
        ...


class RowParams:
    """Parameters of one sample for each row, (N, P)."""

    def __init__(self, graph: Graph, blocks: Sequence[Block], params: str) -> None:
        """Split the parameters into those of each block."""
        self._graph = graph
        self.parts = _by_block(graph, blocks, params)

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        return _some(self._graph, self.parts[block.kind], block, places)

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.add("Sub", x, self.params(block, places))

    def constant(self, values: FloatArray) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.weight(values)

    def combined(self, values: str, matrix: NDArray[np.floating]) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.add("MatMul", values, self._graph.weight(matrix))

    def weighted_sum(self, terms: str, weights: str, width: int) -> str:
        """See :class:`ParamsGraph`."""
        weighted = self._graph.add("Mul", terms, weights)
        return self._graph.add("MatMul", weighted, self._graph.weight(np.ones((width, 1))))


class SampleParams:
    """Parameters for all pairs of a row and a sample: the sum of products (N or 1, P, S) and a bias (P,)."""

    def __init__(self, graph: Graph, blocks: Sequence[Block], products: str, bias: FloatArray | None = None) -> None:
        """Split the products into those of each block."""
        self._graph, self._bias = graph, bias
        self._parts = _by_block(graph, blocks, products)

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        part = _some(self._graph, self._parts[block.kind], block, places)
        if self._bias is None:
            return part
        return self._graph.add("Add", part, self.constant(self._bias[block.params][places]))

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        if self._bias is not None:
            x = self._graph.add("Sub", x, self._graph.weight(self._bias[block.params][places]))
        rows = self._graph.add("Unsqueeze", x, self._graph.integers([2]))
        return self._graph.add("Sub", rows, _some(self._graph, self._parts[block.kind], block, places))

    def constant(self, values: FloatArray) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.weight(values[:, None])

    def combined(self, values: str, matrix: NDArray[np.floating]) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.add("MatMul", self._graph.weight(matrix.T), values)

    def weighted_sum(self, terms: str, weights: str, width: int) -> str:
        """See :class:`ParamsGraph`."""
        by_row = self._graph.add("Reshape", weights, self._graph.integers([-1, 1, width]))
        return self._graph.add("Squeeze", self._graph.add("MatMul", by_row, terms), self._graph.integers([1]))


def shared_params(graph: Graph, blocks: Sequence[Block], params: str) -> SampleParams:
    """Return the parameters of samples that all rows share, (S, P)."""
    by_param = graph.add("Transpose", params, perm=[1, 0])
    return SampleParams(graph, blocks, graph.add("Unsqueeze", by_param, graph.integers([0])))


def decoder_params(graph: Graph, blocks: Sequence[Block], decoder: nn.Sequential, z: str) -> SampleParams:
    """Add the decoder at samples (N, S, L); return its output."""
    first, last = linear_layer(decoder[0]), linear_layer(decoder[-1])
    flat = graph.add("Reshape", z, graph.integers([-1, first.in_features]))
    hidden = graph.mlp(nn.Sequential(*list(decoder)[:-1]), flat)
    products = graph.add("MatMul", hidden, graph.weight(last.weight.T))
    shape = graph.add("Concat", graph.add("Shape", z, start=0, end=2), graph.integers([last.out_features]), axis=0)
    by_sample = graph.add("Reshape", products, shape)
    return SampleParams(graph, blocks, graph.add("Transpose", by_sample, perm=[0, 2, 1]), to_numpy(last.bias))


def _by_block(graph: Graph, blocks: Sequence[Block], params: str) -> dict[str, str]:
    """Split parameters along the second axis."""
    found = graph.split(params, [block.num_params for block in blocks], axis=1)
    return {block.kind: part for block, part in zip(blocks, found, strict=True)}


def _some(graph: Graph, part: str, block: Block, places: slice) -> str:
    """Add some parameters of a block."""
    start, stop, _ = places.indices(block.num_params)
    sizes = [size for size in (start, stop - start, block.num_params - stop) if size]
    return graph.split(part, sizes, axis=1)[1 if start else 0]


def linear_layer(layer: nn.Module) -> nn.Linear:
    """Return the layer as what a decoder starts and ends with; raise TypeError if it is something else."""
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"a decoder starts and ends with Linear, got {type(layer).__name__}")
    return layer
