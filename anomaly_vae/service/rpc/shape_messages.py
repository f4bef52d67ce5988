"""The shape of a model's rows as a message."""

from __future__ import annotations

import msgspec

from anomaly_vae.columns.reading.records import Input
from anomaly_vae.columns.shapes import SeriesShape, Shape
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["describe_input", "describe_shape"]


def describe_shape(shape: Shape | None) -> pb.Shape | None:
    """Return the shape of windows or images as a message; None for rows of a table."""
    if shape is None:
        return None
    if isinstance(shape, SeriesShape):
        return pb.Shape(
            kind="series",
            sizes=shape.sizes,
            channels=shape.channels,
            stride=shape.stride,
            step_seconds=shape.step_seconds,
            timestamp=shape.timestamp or "",
            series=shape.series or "",
            inputs=map(describe_input, shape.inputs),
        )
    return pb.Shape(kind="image", sizes=shape.sizes, depth=shape.depth, low=shape.low, high=shape.high)


def describe_input(each: Input) -> pb.Input:
    """Return an input with the fields of its reading, and its kind."""
    facts = msgspec.to_builtins(each.reading)
    return pb.Input(name=each.name, **{field: value for field, value in facts.items() if value is not None})
