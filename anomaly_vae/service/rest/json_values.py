"""The values of a tensor in JSON: a list of numbers or texts, flat or nested as the shape says; null is missing.

Numbers become Python objects of 32 bytes, 16 times what a short one takes in JSON. So the brackets and commas are
compared with the shape first, and the numbers are read in parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.service.call_errors import invalid

__all__ = ["check_layout", "numbers_of", "texts_of"]

# All bytes but those that show where the values are.
_NO_LAYOUT = bytes(set(range(256)) - set(b"[],"))
# Bytes of JSON that are read at a time: about 3,500 numbers of 18 digits. Chosen, not measured.
_BYTES_AT_A_TIME = 2**16

_NUMBERS = msgspec.json.Decoder(list[float | None])
_TEXTS = msgspec.json.Decoder(list[str | None])


def check_layout(data: bytes, shape: Sequence[int], field: str) -> None:
    """Check that JSON without texts has one value for each place of a shape, before memory is used for them.

    Args:
        data: Valid JSON.
        shape: The claimed sizes, all 1 or more, whose product is no larger than a request may be.
        field: The field's name, for messages.

    Raises:
        CallError: INVALID_ARGUMENT: there are more or fewer values, or they are nested in another way.
    """
    found = data.translate(None, _NO_LAYOUT)
    total = math.prod(shape)
    if found.count(b",") + 1 != total:
        sizes = " x ".join(map(str, shape))
        raise invalid(field, f"has {found.count(b',') + 1} values, expected {total}: {sizes}")
    if found not in (_layout((total,)), _layout(shape)):
        raise invalid(field, f"must be one flat list, or lists in lists of the sizes {list(shape)}")


def numbers_of(data: bytes, field: str, place: Callable[[int], str]) -> FloatArray:
    """Return the numbers in JSON whose layout was checked, in order, NaN for null: float64, (n,).

    Args:
        data: The JSON.
        field: The field's name, for messages.
        place: Returns the row and column of a value, for messages.

    Raises:
        CallError: INVALID_ARGUMENT: a value is no number, or a number that float64 does not have.
    """
    flat = data.translate(None, b"[]")
    values = np.empty(flat.count(b",") + 1)
    start = 0
    for part in _parts(flat):
        try:
            found = _NUMBERS.decode(b"[%b]" % part)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            where = place(start + _position(error))
            raise invalid(field, f"{where}: is neither a number that float64 has nor null") from error
        values[start : start + len(found)] = found  # None becomes NaN
        start += len(found)
    if start != len(values):  # the layout of one value is that of an empty list
        raise invalid(field, "has an empty list")
    return values


def texts_of(data: bytes, field: str) -> list[str | None]:
    """Return the texts in a flat list of JSON, None for null.

    Raises:
        CallError: INVALID_ARGUMENT: it is no flat list, or a value is no text.
    """
    try:
        return _TEXTS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(field, "must be one flat list of texts in UTF-8, or null for missing ones") from error


def _layout(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of lists of these sizes."""
    text = b""
    for size in reversed(shape):
        text = b"[%b%b]" % ((text + b",") * (size - 1), text)
    return text


def _parts(flat: bytes) -> Iterator[bytes]:
    """Yield parts of a list without its brackets, cut at commas."""
    start = 0
    while (end := flat.find(b",", start + _BYTES_AT_A_TIME)) >= 0:
        yield flat[start:end]
        start = end + 1
    yield flat[start:]


def _position(error: Exception) -> int:
    """Return the index in the message of msgspec, ``... - at `$[3]` ``; 0 if there is none."""
    _, found, rest = str(error).rpartition("`$[")
    return int(rest.partition("]")[0]) if found else 0
