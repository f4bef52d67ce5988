"""JSON that every parser reads the same way, and that does not grow out of proportion when it is read."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

__all__ = ["check_json"]

# Commas and brackets; a table of thousands of columns has tens of thousands.
_MOST_ENTRIES = 2**21


def check_json(data: bytes) -> None:
    """Raise ValueError where parsers might read different things, or where a few bytes would become many.

    msgspec takes the last of two equal keys, other parsers the first; and the shortest list, number or object of JSON
    takes thirty times its bytes in memory.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_ENTRIES:
        raise ValueError(f"over {_MOST_ENTRIES} entries")
    json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {twice!r} stands twice in one object")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")
