"""The tests in the tree of a filter."""

from __future__ import annotations

from anomaly_vae.table.filtering.parser import parse_filter
from anomaly_vae.table.filtering.tree import checks_of as leaves


def test_the_tests_of_a_tree_in_their_order():
    assert [each.name for each in leaves(parse_filter("a = 1 OR NOT (b = 2 AND c IS NULL)"))] == ["a", "b", "c"]
