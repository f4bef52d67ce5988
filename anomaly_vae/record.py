"""The base class of every record in manifest.json, and the types of numbers that records share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, dataclass_transform

from msgspec import Meta, Struct, StructMeta, field

__all__ = ["TAILS", "Count", "Positive", "Rate", "Record", "Tail"]

# The largest number that a manifest may state. Chosen, not measured: far above any table, and exact in float64.
_MAX_COUNT = 2**40

Positive = Annotated[int, Meta(ge=1, le=_MAX_COUNT)]
Count = Annotated[int, Meta(ge=0, le=_MAX_COUNT)]
Rate = Annotated[float, Meta(gt=0.0, lt=1.0)]

# Which scores are anomalies: low ones only, or also those that are higher than normal rows have.
Tail = Literal["low", "both"]
TAILS: tuple[Tail, ...] = ("low", "both")


class _RecordMeta(StructMeta):
    """Set the options of all records: msgspec does not inherit ``kw_only``."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> _RecordMeta:
        options |= {"kw_only": True, "forbid_unknown_fields": True}
        return super().__new__(mcls, name, bases, namespace, **options)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Record(Struct, metaclass=_RecordMeta, frozen=True):
    """An immutable record: fields are given by keyword, and unknown fields are refused when it is parsed."""
