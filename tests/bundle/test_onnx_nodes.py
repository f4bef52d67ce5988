"""What a node says about itself, and what is known of values."""

from __future__ import annotations

import pytest

from anomaly_vae.bundle.onnx_nodes import Node, ShapeError, Values

NODE = Node("Conv", ("x", "w"), ("y",), {"group": 2, "pads": (1, 2)})
VALUES = Values({"x": (4, 3)}, {"w": (2,)}, {"w": (5, 6)})


def test_attributes_are_integers_or_lists_of_the_expected_length():
    assert NODE.integer("group", 1) == 2
    assert NODE.integer("axis", 7) == 7
    assert NODE.integers("pads", (0, 0)) == (1, 2)
    assert NODE.integers("strides", (1, 1)) == (1, 1)


@pytest.mark.parametrize(("name", "default"), [("group", (1,)), ("pads", (0, 0, 0, 0))])
def test_other_lists_are_refused(name, default):
    with pytest.raises(ShapeError, match=f"attribute {name} of a node Conv is .*, expected a list of {len(default)}"):
        NODE.integers(name, default)


def test_a_list_is_not_an_integer():
    with pytest.raises(ShapeError, match="attribute pads of a node Conv is a list"):
        NODE.integer("pads", 0)


def test_values_know_shapes_weights_and_contents():
    assert (VALUES.of(NODE), VALUES.of(NODE, 1)) == ((4, 3), (2,))
    assert (VALUES.weight(NODE, 1), VALUES.content(NODE, 1)) == ((2,), (5, 6))


@pytest.mark.parametrize(
    ("method", "i", "text"),
    [
        ("of", 2, "input 2 of a node Conv is not the output of an earlier node"),
        ("weight", 0, "input 0 of a node Conv is not a weight"),
        ("weight", 2, "input 2 of a node Conv is not a weight"),
        ("content", 0, "input 0 of a node Conv is not known before it runs"),
    ],
)
def test_what_is_not_known_is_refused(method, i, text):
    with pytest.raises(ShapeError, match=text):
        getattr(VALUES, method)(NODE, i)
