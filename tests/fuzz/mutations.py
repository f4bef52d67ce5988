"""Random changes to bytes, JSON and protobuf messages.

Every choice comes from a ``random.Random``: hypothesis passes its own, which it can shrink; libFuzzer passes a seed.
"""

from __future__ import annotations

import json
import random
import struct
from typing import Any

from google.protobuf.message import Message

__all__ = ["changed_bytes", "changed_json", "changed_message"]

_INTEGERS = (0, 1, -1, 2, 7, 8, 127, 128, 255, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30)
_REALS = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-300, 1e38, 1e300, -1.7e308)
_TEXTS = (
    "",
    "x",
    "../x",
    "/etc/passwd",
    "a\0b",
    "\x1b[2J",
    "\N{SNOWMAN}",
    "NaN",
    "fp64",
    "FP32",
    "x" * 300,
    "z" * 70000,
)
_HARSH = (
    b"\xff",
    b"\0",
    b"\x80",
    b"ORTM",
    struct.pack("<Q", 2**63 - 1),
    struct.pack("<d", float("nan")),
)
_SIGNALLING = struct.pack("<Q", 0x7FF0000000000001)


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes after one to five changes: a flip, cut, insertion, repetition or random part."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.randrange(len(out) + 1)
        end = min(start + rng.choice((1, 2, 4, 8, 64, 1000)), len(out))
        match rng.randrange(6):
            case 0 if start < len(out):
                out[start] ^= 1 << rng.randrange(8)
            case 1:
                del out[start:]
            case 2:
                del out[start:end]
            case 3:
                out[start:start] = rng.choice((*_HARSH, _SIGNALLING)) * rng.choice((1, 1, 9))
            case 4:
                out[start:start] = out[start:end] * rng.choice((1, 1, 50))
            case 5:
                out[start:end] = rng.randbytes(end - start)
    return bytes(out)


def changed_json(rng: random.Random, text: bytes) -> bytes:
    """Return a document with one value replaced, removed, repeated, exchanged or scaled."""
    document = json.loads(text)
    places = list(_places(document))
    parent, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            parent[key] = rng.choice((*_INTEGERS, *_REALS, *_TEXTS, None, True, [], {}, [[]], float("nan")))
        case 1:
            del parent[key]
        case 2:
            other, there = rng.choice(places)
            parent[key], other[there] = other[there], parent[key]
        case 3 if isinstance(parent[key], list):
            parent[key] = parent[key] * rng.choice((0, 2, 3, 20))
        case 4 if isinstance(parent[key], (int, float)):
            parent[key] = parent[key] * rng.choice((-1, 0.5, 2, 1e10)) + rng.choice((0, 1))
        case _:
            if isinstance(parent, dict):
                parent[rng.choice(_TEXTS)] = parent[key]
            else:
                parent.append(parent[key])
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    """Yield each list or object of a document with each of its indices or keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


def changed_message(rng: random.Random, message: Message) -> bytes:
    """Return a message after one to four changes of fields, at any depth, and sometimes of bytes."""
    copy = type(message)()
    copy.CopyFrom(message)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_field(rng, rng.choice(list(_messages(copy))))
    data: bytes = copy.SerializeToString()
    return changed_bytes(rng, data) if rng.randrange(8) == 0 else data


def _messages(message: Message) -> Any:
    yield message
    for field, value in message.ListFields():
        if _is_map(field):
            value = list(value.values())
        if field.message_type is not None:
            for part in value if _is_repeated(field, value) else [value]:
                if isinstance(part, Message):
                    yield from _messages(part)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_repeated(field: Any, value: Any) -> bool:
    return not isinstance(value, Message) if field.message_type is not None else hasattr(value, "append")


def _change_field(rng: random.Random, message: Message) -> None:
    field = rng.choice(message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if _is_map(field):
        value[rng.choice(_TEXTS)].SetInParent()  # all maps in the protos have text keys and messages as values
    elif _is_repeated(field, value):
        _change_list(rng, field, value)
    elif field.message_type is not None:
        if rng.randrange(2):
            message.ClearField(field.name)
        else:
            value.SetInParent()
    elif rng.randrange(4) == 0:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(rng, field, value))


def _change_list(rng: random.Random, field: Any, values: Any) -> None:
    match rng.randrange(4):
        case 0 if len(values):
            del values[rng.randrange(len(values))]
        case 1 if len(values):
            again = values[rng.randrange(len(values))]
            values.extend([again] * rng.choice((1, 1, 40)))
        case 2 if len(values) > 1:
            kept = list(values)
            rng.shuffle(kept)
            del values[:]
            values.extend(kept)
        case _:
            if field.message_type is None:
                values.append(_value(rng, field, None))
            else:
                values.add()


def _value(rng: random.Random, field: Any, now: Any) -> Any:
    """Return a random value of the field's type."""
    kinds = {field.CPPTYPE_INT32: (-(2**31), 2**31), field.CPPTYPE_INT64: (-(2**63), 2**63),
             field.CPPTYPE_UINT32: (0, 2**32), field.CPPTYPE_UINT64: (0, 2**64)}  # fmt: skip
    if field.cpp_type in kinds:
        low, high = kinds[field.cpp_type]
        return rng.choice([number for number in _INTEGERS if low <= number < high])
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.cpp_type == field.CPPTYPE_BOOL:
        return bool(rng.randrange(2))
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice([*_REALS, float("nan"), float("inf")])
    if field.type == field.TYPE_BYTES:
        data = now or b""
        return rng.choice(
            [b"", b"\0" * 7, data[:-1], data + data, _SIGNALLING * (len(data) // 8), changed_bytes(rng, data)]
        )
    return rng.choice(_TEXTS)
