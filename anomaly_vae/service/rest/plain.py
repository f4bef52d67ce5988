"""Messages of protobuf as objects for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

__all__ = ["plain"]


def plain(message: Message) -> dict[str, Any]:
    """Return all fields of a message by name: whole numbers as numbers, enumerations by name, empty ones too.

    ``google.protobuf.json_format`` writes 64-bit numbers as texts, which the protocol over HTTP does not.
    """
    return {field.name: _value(field, getattr(message, field.name)) for field in message.DESCRIPTOR.fields}


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (str, bytes, bool, int, float)):
        return value if field.enum_type is None else field.enum_type.values_by_number[value].name
    return [_value(field, each) for each in value]
