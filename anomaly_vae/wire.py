"""The fields of a protobuf message, one level deep, for bytes that are not trusted."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["WireError", "fields", "varint"]


class WireError(ValueError):
    """The bytes are not a protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of every field, in order; the value is an integer, or the bytes of any other type.

    Raises:
        WireError: The bytes are not a protobuf message.

    References:
        https://protobuf.dev/programming-guides/encoding/
    """
    position, end = 0, len(data)
    while position < end:
        key, position = varint(data, position)
        number, wire = key >> 3, key & 7
        value: int | bytes
        if wire == 0:
            value, position = varint(data, position)
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            value, position = data[position : position + width], position + width
        elif wire == 2:
            width, position = varint(data, position)
            value, position = data[position : position + width], position + width
        else:
            raise WireError(f"protobuf wire type {wire} is not supported")
        if position > end:
            raise WireError("its protobuf ends too early")
        yield number, value


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position after it.

    Raises:
        WireError: The bytes end too early, or the integer has more than 10 bytes.
    """
    value = 0
    for shift in range(0, 70, 7):  # 64 bits take at most 10 bytes of 7 bits
        if position >= len(data):
            raise WireError("its protobuf ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a protobuf integer is too long")
