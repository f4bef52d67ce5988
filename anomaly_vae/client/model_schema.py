"""The columns of a served model, from its description."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from anomaly_vae.columns.reading.records import Input, Reading
from anomaly_vae.columns.schema import NOVELTIES, Column, Kind, Novelty, Schema
from anomaly_vae.columns.shapes import Shape
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["schema_of"]


def schema_of(model: pb.Model) -> Schema:
    """Return the model's columns and the shape of its rows.

    Raises:
        ServiceError: This release does not know how the service reads a column, or the shape of its rows.
    """
    return Schema(
        columns=tuple(map(_column, model.columns)),
        label=model.label or None,
        shape=_shape(model),
        inputs=_inputs(model.inputs),
        missing_values=tuple(model.missing_values),
    )


def _column(column: pb.ModelColumn) -> Column:
    return Column(
        name=column.name,
        kind=cast(Kind, column.kind),
        value=column.value if column.HasField("value") else None,
        categories=tuple(column.categories) if column.kind == "categorical" else None,
        step=column.step if column.HasField("step") else None,
        origin=column.origin,
        rare=tuple(column.rare),
        other_share=column.other_share if column.HasField("other_share") else None,
        novelty=_novelty(column),
        period=column.period if column.HasField("period") else None,
    )


def _novelty(column: pb.ModelColumn) -> Novelty | None:
    """Return the novelty; None if the service does not state it, or states one that this release does not know."""
    return next((known for known in NOVELTIES if known == column.novelty), None)


def _inputs(inputs: Iterable[pb.Input]) -> tuple[Input, ...]:
    return tuple(Input(name=each.name, reading=_reading(each)) for each in inputs)


def _reading(each: pb.Input) -> Reading:
    """Return how an input is read."""
    fields = {descriptor.name: value for descriptor, value in each.ListFields() if descriptor.name != "name"}
    try:
        reading: Reading = msgspec.convert(
            {name: value if isinstance(value, (str, bool)) else list(value) for name, value in fields.items()}, Reading
        )
    except msgspec.ValidationError as error:
        raise ServiceError(
            f"the service reads column {each.name!r} in a way that this release does not know ({error}); upgrade "
            "anomaly_vae",
            code="UNIMPLEMENTED",
        ) from error
    return reading


def _shape(model: pb.Model) -> Shape | None:
    """Return the shape of windows or images, None for rows of a table."""
    if not model.HasField("shape"):
        return None
    found = model.shape
    inputs = _inputs(found.inputs)
    try:
        shape: Shape = msgspec.convert(_shape_fields(found), Shape)
    except msgspec.ValidationError as error:
        raise _unknown_shape(str(error)) from error
    if shape.sizes != tuple(found.sizes) or shape.num_cells != len(model.columns):
        raise _unknown_shape(f"{list(found.sizes)} for {len(model.columns)} columns")
    return msgspec.structs.replace(shape, inputs=inputs) if inputs else shape


def _shape_fields(shape: pb.Shape) -> dict[str, Any]:
    sizes = dict(enumerate(shape.sizes))
    if shape.kind == "image":
        height, width, channels = (sizes.get(axis) for axis in range(3))
        fields = {"height": height, "width": width, "channels": channels, "depth": shape.depth}
        return {"kind": "image", **fields, "low": shape.low, "high": shape.high}
    return {
        "kind": shape.kind,
        "length": sizes.get(0),
        "channels": list(shape.channels),
        "stride": shape.stride,
        "step_seconds": shape.step_seconds if shape.HasField("step_seconds") else None,
        "timestamp": shape.timestamp or None,
        "series": shape.series or None,
    }


def _unknown_shape(why: str) -> ServiceError:
    return ServiceError(
        f"the rows of the service's model have a shape that this release does not know ({why}); upgrade anomaly_vae",
        code="UNIMPLEMENTED",
    )
