"""What two models differ in before any row is scored: their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import ConfigError

__all__ = ["SchemaDifferences", "schema_differences"]

# Names that a sentence lists. Chosen, not measured.
_SHOWN = 5


class SchemaDifferences(NamedTuple):
    """The differences of the columns of two models, A and B, one sentence each.

    Attributes:
        columns: Columns that only one of them has, or that they take for different kinds: their log p(x) are then
            densities of different things, and cannot be compared.
        categories: Categories that only one of them knows; log p(x) can be compared nevertheless.
    """

    columns: list[str]
    categories: list[str]


def schema_differences(a: Schema, b: Schema) -> SchemaDifferences:
    """Compare the columns of two models of tables, or of images.

    Raises:
        ConfigError: One model is of tables and the other of images.
    """
    if a.kind != b.kind:
        words = {"image": "images", "table": "rows of a table", "series": "windows of series"}
        raise ConfigError(f"MODEL_A scores {words[a.kind]} and MODEL_B {words[b.kind]}; nothing can be compared")
    if a.shape is not None and b.shape is not None:
        return SchemaDifferences(_shape_differences(a, b, a.shape.sizes, b.shape.sizes), [])
    of_a, of_b = ({column.name: column for column in schema.columns} for schema in (a, b))
    both = [name for name in of_a if name in of_b]
    columns = [
        f"only {model} uses {_listed(names)}"
        for model, names in (
            ("A", [name for name in of_a if name not in of_b]),
            ("B", [name for name in of_b if name not in of_a]),
        )
        if names
    ]
    for name in both:
        kind_a, kind_b = _kind(of_a[name]), _kind(of_b[name])
        if kind_a != kind_b:
            columns.append(f"column {name!r} is {kind_a} in A and {kind_b} in B")
    categories = [text for name in both for text in _category_differences(of_a[name], of_b[name])]
    return SchemaDifferences(columns, categories)


def _shape_differences(a: Schema, b: Schema, of_a: Sequence[int], of_b: Sequence[int]) -> list[str]:
    """Return what differs between the images of two models; their columns are pixels, and have no names to list."""
    if tuple(of_a) != tuple(of_b):
        sizes = (" x ".join(map(str, sizes)) for sizes in (of_a, of_b))
        return ["A takes images of {} and B of {} (height x width x channels)".format(*sizes)]
    others = sum(_kind(one) != _kind(two) for one, two in zip(a.columns, b.columns, strict=True))
    return [f"{others:,} of {len(a.columns):,} pixels are constant in one model only"] if others else []


def _kind(column: Column) -> str:
    """Return what its density is one of: the kind, the grid of its values and its period."""
    grid = "" if column.step is None else f" in steps of {column.step:g}"
    period = "" if column.period is None else f" with period {column.period:g}"
    return f"{column.kind}{grid}{period}"


def _category_differences(a: Column, b: Column) -> list[str]:
    known_a, known_b = a.categories or (), b.categories or ()
    return [
        f"column {a.name!r}: only {model} knows {_listed([text for text in known if text not in other])}"
        for model, known, other in (("A", known_a, known_b), ("B", known_b, known_a))
        if a.categories is not None and b.categories is not None and set(known) - set(other)
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
