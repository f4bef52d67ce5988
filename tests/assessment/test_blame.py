"""Which columns are named for a row that two models judge differently."""

from __future__ import annotations

from anomaly_vae.assessment.blame import column_differences
from tests.support.assessed import why


def row(**excess):
    return [why(name, nats) for name, nats in excess.items()]


def test_the_largest_differences_come_first():
    found = column_differences(row(a=1.0, b=9.0, c=5.0, d=0.0), row(a=1.5, b=1.0, c=5.0, d=3.0), shown=2)
    assert [(each.column, each.excess_a, each.excess_b) for each in found] == [("b", 9.0, 1.0), ("d", 0.0, 3.0)]
    assert found[0].difference == 8.0
    assert (found[0].expected_a, found[0].expected_b) == ("2 to 4", "2 to 4")


def test_a_column_that_one_model_lacks_counts_as_no_surprise():
    (found,) = column_differences(row(a=4.0), row(b=-7.0), shown=1)
    assert (found.column, found.excess_a, found.excess_b, found.difference) == ("b", None, -7.0, 7.0)
    assert (found.expected_a, found.expected_b, found.value) == (None, "2 to 4", 1.0)
