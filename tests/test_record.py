"""Records of manifest.json: immutable, by keyword, without unknown fields."""

from __future__ import annotations

import msgspec
import pytest

from anomaly_vae.record import Record


class Point(Record):
    x: float
    y: float = 0.0


class Tagged(Point, tag="tagged", tag_field="kind"):
    z: float


def test_fields_are_given_by_keyword():
    assert Point(x=1.0) == Point(x=1.0, y=0.0)
    with pytest.raises(TypeError, match="positional"):
        Point(1.0)
    with pytest.raises(TypeError, match="'x'"):
        Point(y=1.0)


def test_a_record_is_immutable_and_can_be_a_key():
    with pytest.raises(AttributeError, match="immutable"):
        Point(x=1.0).x = 2.0
    assert {Point(x=1.0): "a"}[Point(x=1.0)] == "a"


@pytest.mark.parametrize(("record", "more"), [(Point, {}), (Tagged, {"z": 3.0, "kind": "tagged"})])
def test_an_unknown_field_is_refused_by_name_in_subclasses_too(record, more):
    """msgspec does not inherit these options by itself."""
    data = msgspec.json.encode({"x": 1.0, **more})
    assert msgspec.json.decode(msgspec.json.encode(msgspec.json.decode(data, type=record)), type=record).x == 1.0
    with pytest.raises(msgspec.ValidationError, match="`pickle`"):
        msgspec.json.decode(msgspec.json.encode({"x": 1.0, "pickle": "p", **more}), type=record)


def test_a_required_field_may_follow_an_optional_one_of_the_base_class():
    """Only keyword fields allow this order."""
    assert msgspec.to_builtins(Tagged(x=1.0, z=3.0)) == {"kind": "tagged", "x": 1.0, "y": 0.0, "z": 3.0}
