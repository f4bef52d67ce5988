"""What ``anomaly-vae inspect`` says about windows and images, whose columns are too many to list."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.series.clock import shown_step

if TYPE_CHECKING:
    from anomaly_vae.columns.schema import Schema
    from anomaly_vae.columns.shapes import ImageShape

__all__ = ["channel_rows", "shape_facts"]

# Channels whose names are listed.
_SHOWN = 8


def shape_facts(schema: Schema) -> dict[str, str]:
    """Return what one row is, in words by name; nothing for tables."""
    if schema.shape is None:
        return {}
    if not isinstance(schema.shape, SeriesShape):
        return {"images": _image(schema.shape)}
    shape = schema.shape
    names = ", ".join(shape.channels[:_SHOWN]) + (", ..." if len(shape.channels) > _SHOWN else "")
    step = (
        "each row of a table is a step" if shape.step_seconds is None else f"a step of {shown_step(shape.step_seconds)}"
    )
    facts = {
        "windows": f"{shape.length} steps of {_counted(shape.num_channels, 'channel')}: {names}",
        "steps": f"{step}, training windows start every {_counted(shape.stride, 'step')}",
    }
    if shape.timestamp is not None:
        facts["times"] = f"column {shape.timestamp}"
    if shape.series is not None:
        facts["series"] = f"named by column {shape.series}"
    return facts


def channel_rows(schema: Schema, members: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return for each channel its name, its cells by kind, the range of its training values, and its heads.

    Args:
        schema: Columns that are the cells of windows or images.
        members: The models, as in ``Scorer.info``.
    """
    if schema.shape is None:
        return []
    shape, num_channels = schema.shape, schema.shape.num_channels
    names = shape.channels if isinstance(shape, SeriesShape) else tuple(f"channel {c}" for c in range(num_channels))
    modelled = schema.modelled.tolist()
    rows = list[tuple[str, ...]]()
    for c, name in enumerate(names):
        kinds = Counter(column.kind for column in schema.columns[c::num_channels])
        own = [m for m, d in enumerate(modelled) if d % num_channels == c]
        ends = [
            tails[side]["end"]
            for m in own
            for side in ("low", "high")
            if (tails := members[0]["columns"][m]["tails"]) is not None
        ]
        heads = [Counter(member["columns"][m]["head"]["kind"] for m in own) for member in members]
        text = " | ".join(", ".join(f"{count:,} {kind}" for kind, count in each.items()) for each in heads)
        found = f"{min(ends):.6g} to {max(ends):.6g}" if ends else ""
        rows.append((name, ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()), found, text))
    return rows


def _image(shape: ImageShape) -> str:
    values = "whole numbers from 0 to 255" if shape.depth == "uint8" else f"values from {shape.low:g} to {shape.high:g}"
    size = f"{shape.height} x {shape.width} pixels with {_counted(shape.channels, 'channel')}, {values}"
    return size + (", images of other sizes are resized" if shape.resized else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
