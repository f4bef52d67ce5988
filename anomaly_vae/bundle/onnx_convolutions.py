"""The shapes and costs of convolutions in two dimensions, and of their transposes.

Values have the shape (N, C, H, W). Weights have the shape (M, C, kernel height, kernel width) for Conv, and
(C, M, kernel height, kernel width) for ConvTranspose. See https://onnx.ai/onnx/operators/onnx__Conv.html, versions of
operator set 18.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from anomaly_vae.bundle.onnx_nodes import STEPS_PER_NUMBER, Cost, Node, Shape, ShapeError, Values

__all__ = ["conv", "conv_cost", "conv_transpose", "conv_transpose_cost"]

_ATTRIBUTES = frozenset(("kernel_shape", "pads", "strides", "dilations", "group"))

# Largest stride and dilation. Chosen, not measured: the layers of models have strides up to 4.
_MOST_STEP = 16


class _Layer(NamedTuple):
    """The sizes of a layer; pairs are those of height and width.

    Attributes:
        value: The shape of the input.
        channels_out: Channels of the output.
        strides: Steps from one place of the kernel to the next, pairs.
        extents: Sizes of the dilated kernel, pairs.
        pads: Sum of the padding at both ends, pairs.
        kernel: Numbers of a kernel of one pair of channels.
    """

    value: Shape
    channels_out: int
    strides: Shape
    extents: Shape
    pads: Shape
    kernel: int


def conv(node: Node, values: Values) -> list[Shape]:
    """Return the shape of the output of Conv."""
    layer = _layer(node, values, transposed=False)
    sizes = tuple(
        (size + pad - extent) // stride + 1
        for size, pad, extent, stride in zip(layer.value[2:], layer.pads, layer.extents, layer.strides, strict=True)
    )
    return [_output(node, layer, sizes)]


def conv_transpose(node: Node, values: Values) -> list[Shape]:
    """Return the shape of the output of ConvTranspose."""
    layer = _layer(node, values, transposed=True)
    added = node.integers("output_padding", (0, 0))
    if any(not 0 <= size < stride for size, stride in zip(added, layer.strides, strict=True)):
        raise ShapeError(f"a node ConvTranspose has output_padding {added}, expected less than strides {layer.strides}")
    sizes = tuple(
        stride * (size - 1) + extra + extent - pad
        for size, pad, extent, stride, extra in zip(
            layer.value[2:], layer.pads, layer.extents, layer.strides, added, strict=True
        )
    )
    return [_output(node, layer, sizes)]


def conv_cost(node: Node, values: Values, made: list[Shape]) -> Cost:
    """Return the cost of Conv: onnxruntime copies the inputs of all places of the kernel, one image at a time."""
    layer = _layer(node, values, transposed=False)
    return _cost(layer, layer.value[1] * layer.kernel * math.prod(made[0][2:]), layer.channels_out)


def conv_transpose_cost(node: Node, values: Values, _: list[Shape]) -> Cost:
    """Return the cost of ConvTranspose: onnxruntime adds up the products of all places, one image at a time."""
    layer = _layer(node, values, transposed=True)
    return _cost(layer, layer.channels_out * layer.kernel * math.prod(layer.value[2:]), layer.value[1])


def _cost(layer: _Layer, copied: int, multiplied: int) -> Cost:
    """Return the cost if each image copies so many numbers, multiplies each as often, and reads the weight."""
    moved = copied + layer.value[1] * layer.channels_out * layer.kernel
    return Cost(copied, layer.value[0] * (copied * multiplied + moved * STEPS_PER_NUMBER))


def _layer(node: Node, values: Values, *, transposed: bool) -> _Layer:
    """Check everything but the output's size."""
    known = _ATTRIBUTES | {"output_padding"} if transposed else _ATTRIBUTES
    for name in node.attributes:
        if name not in known:
            raise ShapeError(f"a node {node.operator} has an attribute {name[:40]!r} that a model does not use")
    value, weight = values.of(node), values.weight(node, 1)
    if len(value) != 4 or len(weight) != 4 or min(value + weight) < 1:
        raise ShapeError(f"a node {node.operator} has a value of shape {value} and a weight of shape {weight}")
    channels_in, channels_out = weight[:2] if transposed else weight[1::-1]
    group = node.integer("group", 1)
    if group != 1 or value[1] != channels_in:
        raise ShapeError(
            f"a node {node.operator} of {group} groups and a weight of shape {weight} does not fit a value of shape "
            f"{value}"
        )
    if len(node.inputs) > 3 or (len(node.inputs) == 3 and values.weight(node, 2) != (channels_out,)):
        raise ShapeError(f"a node {node.operator} needs one bias for each of its {channels_out} channels")
    kernel, strides = node.integers("kernel_shape", weight[2:]), node.integers("strides", (1, 1))
    dilations, pads = node.integers("dilations", (1, 1)), node.integers("pads", (0, 0, 0, 0))
    if kernel != weight[2:]:
        raise ShapeError(f"a node {node.operator} has kernel_shape {kernel} and a weight of shape {weight}")
    if any(not 1 <= step <= _MOST_STEP for step in strides + dilations):
        raise ShapeError(
            f"a node {node.operator} has strides {strides} and dilations {dilations}, expected 1 to {_MOST_STEP}"
        )
    extents = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    if any(not 0 <= pad < extent for pad, extent in zip(pads, extents * 2, strict=True)):
        raise ShapeError(f"a node {node.operator} has pads {pads}, expected less than the kernel's extents {extents}")
    return _Layer(value, channels_out, strides, extents, (pads[0] + pads[2], pads[1] + pads[3]), math.prod(kernel))


def _output(node: Node, layer: _Layer, sizes: Shape) -> Shape:
    if min(sizes) < 1:
        raise ShapeError(f"a node {node.operator} of a value of shape {layer.value} has an output of size {sizes}")
    return (layer.value[0], layer.channels_out, *sizes)
