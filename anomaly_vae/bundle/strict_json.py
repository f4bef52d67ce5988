"""A check for JSON that every parser reads the same way, and that takes a bounded amount of memory."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

__all__ = ["check_json"]

# Largest number of commas and opening brackets. Chosen, not measured: it bounds the memory of a hostile file, and a
# table of thousands of columns has tens of thousands.
_MOST_ENTRIES = 2**23


def check_json(data: bytes) -> None:
    """Raise ValueError if parsers could read different values, or if the document has too many entries.

    msgspec uses the last of two equal keys, other parsers the first. In memory, the shortest lists, numbers and objects
    take thirty times the bytes that they have in JSON.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_ENTRIES:
        raise ValueError(f"over {_MOST_ENTRIES} entries")
    json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {twice!r} appears twice in one object")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")
