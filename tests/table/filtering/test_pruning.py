"""Bounds never exclude a truth that a row has."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings

from anomaly_vae.table.filtering.evaluation import truth_of
from anomaly_vae.table.filtering.pruning import Bounds, may_pass, outcomes_of
from anomaly_vae.table.filtering.tree import checks_of as leaves
from tests.table.filtering.test_evaluation import FILTERS, ROWS, columns_of


def bounds_of(cells):
    """The closest bounds of some cells."""
    there = [cell for cell in cells if cell is not None and cell == cell]
    exact = [Fraction(cell) if type(cell) in (int, float) and abs(cell) < 1e30 else cell for cell in there]
    if any(cell == float("inf") for cell in there):
        return Bounds()
    return Bounds(min(exact, default=None), max(exact, default=None), len(there) < len(cells), bool(there))


@settings(deadline=None)
@given(FILTERS, ROWS)
def test_every_truth_of_a_row_is_among_the_outcomes(node, rows):
    bounds = {name: bounds_of([row[name] for row in rows]) for name in "ixsb"}
    for test in leaves(node):
        assert set(truth_of(test, columns_of(rows)).to_pylist()) <= outcomes_of(test, bounds[test.name])
    if True in truth_of(node, columns_of(rows)).to_pylist():
        assert may_pass(node, lambda test: outcomes_of(test, bounds[test.name]))


def test_bounds_exclude_what_is_outside_of_them():
    from anomaly_vae.table.filtering.parser import parse_filter

    bounds = {"i": Bounds(Fraction(1), Fraction(5), may_miss=False), "s": Bounds("ba", "bc")}
    for text, expected in {
        "i > 5": False, "i >= 5": True, "i < 1": False, "i != 1": True, "i IN (0, 9)": False, "i IS NULL": False,
        "NOT i BETWEEN 0 AND 9": False, "s LIKE 'bb%'": True, "s LIKE 'c%'": False, "s LIKE '%x'": True,
        "s < 'b'": False, "i > 5 OR other = 1": True, "i > 5 AND other = 1": False, "NOT (i <= 5)": False,
    }.items():  # fmt: skip
        assert may_pass(parse_filter(text), lambda test: outcomes_of(test, bounds.get(test.name))) is expected, text
