"""Two models on the same rows."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from anomaly_vae.assessment import compare
from tests.support.assessed import judged_of, promise_for, why

A = [0.01, 0.5, 0.04, 0.9, 0.3]
B = [0.01, 0.02, 0.4, 0.8, 0.3]
NUMBERS = np.array([1, 2, 4, 5, 9])


def compared(a=A, b=B, **options):
    promises = promise_for(), promise_for()
    return compare((judged_of(a), judged_of(b)), promises, NUMBERS[: len(a)], **options)


def test_rows_with_another_decision_are_listed_by_the_factor_of_their_p_values():
    found = compared()
    assert (found.agreement.both, found.agreement.only_a, found.agreement.only_b, found.agreement.neither) == (
        1,
        1,
        1,
        2,
    )
    assert [(each.row, each.flagged_by, each.p_value_a, each.p_value_b) for each in found.changed_rows] == [
        (2, "B", 0.5, 0.02),
        (4, "A", 0.04, 0.4),
    ]
    assert [each.row for each in compared(shown=1).changed_rows] == [2]
    json.dumps(msgspec.to_builtins(found), allow_nan=False)


def test_the_listed_rows_are_explained_by_both_models():
    asked = []

    def explain(rows):
        asked.append(rows.tolist())
        item = why("c", 3.0)
        return [[item]] * len(rows), [[]] * len(rows)

    found = compared(explain=explain, shown=1)
    assert asked == [[1]]
    assert [(each.column, each.excess_a, each.excess_b) for each in found.changed_rows[0].why] == [("c", 3.0, None)]
    assert compared(b=A, explain=explain).changed_rows == ()
    assert len(asked) == 1


def test_images_have_their_names():
    names = [f"{number}.png" for number in NUMBERS]
    assert [each.name for each in compared(names=names).changed_rows] == ["2.png", "4.png"]
    assert {each.name for each in compared().changed_rows} == {None}


def test_a_model_beside_itself_changes_nothing():
    found = compared(b=A)
    assert (found.agreement.changed.count, found.agreement.kappa, found.spearman_order) == (0, 1.0, 1.0)
    assert (found.fit.mean, found.fit.std_error, found.fit.rows) == (0.0, 0.0, 5)


def test_the_fit_is_the_paired_difference_of_log_p():
    a, b = judged_of(A, score=np.arange(5.0)), judged_of(B, score=np.arange(5.0) + np.array([1, 2, 3, 4, 99]))
    lowest = np.array([False, False, False, False, True])
    found = compare((a, b._replace(ranks_lowest=lowest)), (promise_for(), promise_for()), NUMBERS).fit
    assert (found.rows, found.mean) == (4, 2.5)
    assert found.std_error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    nothing = compare(
        (a._replace(ranks_lowest=~lowest), b._replace(ranks_lowest=lowest)), (promise_for(),) * 2, NUMBERS
    )
    assert (nothing.fit, nothing.no_fit) == (None, None)


def test_other_columns_give_no_fit():
    found = compared(no_fit="only A uses 'x'")
    assert (found.fit, found.no_fit) == (None, "only A uses 'x'")


def test_each_model_is_compared_with_its_promise():
    found = compare((judged_of([0.01] * 40), judged_of([0.5] * 40)), (promise_for(),) * 2, np.arange(40) + 1)
    assert (found.a.above_promise, found.b.above_promise) == (True, False)
    assert found.a.flagged.share == 1.0
    by_chance = compare((judged_of([0.01] * 3 + [0.5] * 37),) * 2, (promise_for(),) * 2, np.arange(40) + 1).a
    assert (by_chance.flagged.share, by_chance.above_promise) == (0.075, False)
    assert found.a.chance < 1e-6 < found.b.chance
    assert found.a.spread.chance < 1e-6
    assert found.spearman_p_value is None
