"""Parameters of p(x|z) in a graph: at one sample of each row, or for all pairs of a row and a sample.

Axes: N rows, P parameters or G columns, S samples. Samples come last: onnxruntime adds and multiplies along long rows
of numbers many times faster than along short ones, and columns are few. An axis of length 1 at the end is slow too, so
one sample of each row has no axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.layout import Block
from anomaly_vae.training.convolutions import FromPlanes
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.layer_graphs import add_layers
from anomaly_vae.training.levels import Levels

__all__ = ["ParamsGraph", "RowParams", "SampleParams", "decoder_params", "linear_layer", "shared_params"]

# Names of parameters that were cut out of a block: by its kind, the first of them and the one after the last.
_Pieces = dict[tuple[str, int, int], str]


class ParamsGraph(Protocol):
    """The parameters of p(x|z), and what depends on the place of their axes.

    Values of columns have the shape (N, G, S), or (N or 1, P, S) for parameters; those of one sample a row have no S.
    """

    def cut(self, block: Block, sizes: Sequence[int]) -> None:
        """Cut the parameters of a block into pieces of these sizes, once for all that ask for one of them.

        Otherwise every question for some parameters copies all of them.
        """
        ...

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """Add the parameters of a block, or some of them."""
        ...

    def rows(self, values: str) -> str:
        """Add numbers for each row and column, (N, G), in the shape that goes with values of columns."""
        ...

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """Add x (N, G) minus the parameters of a block, or minus some of them."""
        ...

    def shaped(self, values: str, *sizes: int) -> str:
        """Add values of columns with other axes in the place of G, and of those that were there before."""
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
        self._pieces: _Pieces = {}

    def cut(self, block: Block, sizes: Sequence[int]) -> None:
        """See :class:`ParamsGraph`."""
        self._pieces |= _cut(self._graph, self.parts[block.kind], block, sizes)

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        return _some(self._graph, self.parts[block.kind], block, places, self._pieces)

    def rows(self, values: str) -> str:
        """See :class:`ParamsGraph`."""
        return values

    def shaped(self, values: str, *sizes: int) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.add("Reshape", values, self._graph.integers([-1, *sizes]))

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
        self._pieces: _Pieces = {}

    def cut(self, block: Block, sizes: Sequence[int]) -> None:
        """See :class:`ParamsGraph`."""
        self._pieces |= _cut(self._graph, self._parts[block.kind], block, sizes)

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        part = _some(self._graph, self._parts[block.kind], block, places, self._pieces)
        if self._bias is None:
            return part
        return self._graph.add("Add", part, self.constant(self._bias[block.params][places]))

    def rows(self, values: str) -> str:
        """See :class:`ParamsGraph`."""
        return self._graph.add("Unsqueeze", values, self._graph.integers([2]))

    def shaped(self, values: str, *sizes: int) -> str:
        """See :class:`ParamsGraph`."""
        graph = self._graph
        samples = graph.add("Shape", values, start=-1)
        shape = graph.add("Concat", graph.integers([-1, *sizes]), samples, axis=0)
        return graph.add("Reshape", values, shape)

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """See :class:`ParamsGraph`."""
        if self._bias is not None:
            x = self._graph.add("Sub", x, self._graph.weight(self._bias[block.params][places]))
        part = _some(self._graph, self._parts[block.kind], block, places, self._pieces)
        return self._graph.add("Sub", self.rows(x), part)

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


def decoder_params(
    graph: Graph, blocks: Sequence[Block], decoder: nn.Sequential, levels: Levels | None, by_dim: str
) -> SampleParams:
    """Add the decoder at samples (N, L, S); return its output.

    The last layer's bias stays apart, and the samples come last in one transposition.
    """
    *body, last = decoder
    inner = linear_layer(decoder[0]).in_features
    of_levels, by_inner = "", by_dim
    if levels is not None:
        of_levels, by_inner = graph.split(by_dim, [levels.number, inner], axis=1)
    z = graph.add("Transpose", by_inner, perm=[0, 2, 1])
    flat = graph.add("Reshape", z, graph.integers([-1, inner]))
    hidden = add_layers(graph, nn.Sequential(*body), flat, (inner,))
    rows, samples = graph.add("Shape", z, start=0, end=1), graph.add("Shape", z, start=1, end=2)
    if isinstance(last, FromPlanes):
        products = _sample_planes(graph, last, hidden, rows, samples)
    else:
        last = linear_layer(last)
        shape = graph.add("Concat", rows, samples, graph.integers([last.out_features]), axis=0)
        by_sample = graph.add("Reshape", graph.add("MatMul", hidden, graph.weight(last.weight.T)), shape)
        products = graph.add("Transpose", by_sample, perm=[0, 2, 1])
    if levels is not None:
        products = graph.add("Add", products, graph.add("MatMul", graph.weight(levels.place.T), of_levels))
    return SampleParams(graph, blocks, products, to_numpy(last.bias))


def _sample_planes(graph: Graph, layer: FromPlanes, planes: str, rows: str, samples: str) -> str:
    """Add planes (N * S, planes, H, W) in the order of the parameters, without their bias, (N, P, S).

    Measured with onnxruntime 1.32: a transposition of three axes takes 0.1 ns a number, and one that moves the samples
    and the channels together 2 ns.
    """
    height, width = layer.plane
    parts = []
    sizes = zip(graph.split(planes, layer.planes, axis=1), layer.repeats, layer.channels, strict=True)
    for part, repeats, channels in sizes:
        count = graph.integers([repeats * channels * height * width])
        flat = graph.add("Reshape", part, graph.add("Concat", rows, samples, count, axis=0))
        by_param = graph.add("Transpose", flat, perm=[0, 2, 1])
        if channels > 1:
            split = graph.integers([repeats, channels, height * width])
            by_plane = graph.add("Reshape", by_param, graph.add("Concat", rows, split, samples, axis=0))
            by_cell = graph.add("Transpose", by_plane, perm=[0, 1, 3, 2, 4])
            by_param = graph.add("Reshape", by_cell, graph.add("Concat", rows, count, samples, axis=0))
        parts.append(by_param)
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _by_block(graph: Graph, blocks: Sequence[Block], params: str) -> dict[str, str]:
    """Split parameters along the second axis."""
    found = graph.split(params, [block.num_params for block in blocks], axis=1)
    return {block.kind: part for block, part in zip(blocks, found, strict=True)}


def _cut(graph: Graph, part: str, block: Block, sizes: Sequence[int]) -> _Pieces:
    """Add all pieces of the parameters of a block, along the second axis."""
    ends = list(itertools.accumulate(sizes))
    names = graph.split(part, list(sizes), axis=1)
    return {(block.kind, end - size, end): name for name, size, end in zip(names, sizes, ends, strict=True)}


def _some(graph: Graph, part: str, block: Block, places: slice, pieces: _Pieces) -> str:
    """Add some parameters of a block, unless they are a piece that was cut."""
    start, stop, _ = places.indices(block.num_params)
    if (block.kind, start, stop) in pieces:
        return pieces[block.kind, start, stop]
    sizes = [size for size in (start, stop - start, block.num_params - stop) if size]
    return graph.split(part, sizes, axis=1)[1 if start else 0]


def linear_layer(layer: nn.Module) -> nn.Linear:
    """Return the layer as what a decoder starts and ends with; raise TypeError if it is something else."""
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"a decoder starts and ends with Linear, got {type(layer).__name__}")
    return layer
