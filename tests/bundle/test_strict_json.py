"""JSON that every parser reads the same way."""

from __future__ import annotations

import json

import pytest

from anomaly_vae.bundle import strict_json
from anomaly_vae.bundle.strict_json import check_json


@pytest.mark.parametrize("value", [{}, [], {"a": {"a": 1}, "b": [{"c": 1}, {"c": 2}]}, "text", 1.5e300, None])
def test_plain_json_passes(value):
    """Equal keys in different objects are no contradiction."""
    check_json(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "key 'a' appears twice in one object"),
        ('{"x": [{"a": 1, "a": 1}]}', "key 'a' appears twice in one object"),
        (r'{"a": 1, "\u0061": 2}', "key 'a' appears twice in one object"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number of JSON"),
        ('{"a": 1} {"a": 2}', "Extra data"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_parsers_read_differently_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        check_json(text.encode())


def test_bytes_that_are_not_utf_8_are_refused():
    with pytest.raises(ValueError, match="utf-8"):
        check_json(b'{"a": "\xff"}')


@pytest.mark.parametrize("entry", ["0,", "[", '{"a":'])
def test_a_document_with_too_many_entries_is_refused_before_it_is_parsed(monkeypatch, entry):
    """In memory the shortest entries take thirty times their bytes."""
    monkeypatch.setattr(strict_json, "_MOST_ENTRIES", 100)
    check_json(f"[{','.join('0' * 100)}]".encode())  # 99 commas and a bracket
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(ValueError, match="over 100 entries"):
        check_json(entry.encode() * 101)
