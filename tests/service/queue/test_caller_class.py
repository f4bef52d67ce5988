"""The callers of one priority, and their accounts."""

import pytest

from anomaly_vae.service.queue.caller_class import CallerClass
from anomaly_vae.service.queue.cost_model import CostModel
from tests.support.queues import KEY, Key, job


@pytest.fixture
def group():
    """A class with a fifth of the time; a row of KEY takes 10 ms."""
    costs = CostModel()
    costs.learn(KEY.cost, 32, 0.32)
    return CallerClass(costs, 0.2)


def add(group, name, num_rows, key=KEY):
    one, caller = job(num_rows, key, caller=name), group.join(name)
    group.add(caller, one, order=float(num_rows))
    return caller, one


def test_the_caller_with_the_lowest_account_after_its_next_tile_goes_first(group):
    (a, _), (_, short) = add(group, "a", 100), add(group, "b", 2)
    assert group.first() is short
    group.join("b").seconds_used += 1.0
    assert group.first().caller == "a"
    assert group.finish(a, group.first()) == (pytest.approx(0.16), a.number)


def test_taken_rows_are_charged_to_the_caller_and_by_its_share_to_the_class(group):
    caller, one = add(group, "a", 100)
    group.take(caller, one, 20)
    assert (caller.seconds_used, group.seconds_used) == pytest.approx((0.2, 1.0))
    assert group.rows[KEY] == caller.rows[KEY] == 80
    assert group.class_finish(one) == pytest.approx(1.0 + 0.16 / 0.2)
    group.settle("a", -0.1)
    group.settle("gone", -0.1)
    assert (caller.seconds_used, group.seconds_used) == pytest.approx((0.1, 0.0))


def test_a_caller_that_comes_back_has_saved_up_no_time(group):
    for name in "ab":
        add(group, name, 10)
    group.waiting["a"].seconds_used = 5.0
    del group.waiting["b"]
    assert group.join("b").seconds_used == 5.0
    group.waiting.clear()
    assert group.join("c").seconds_used == 0.0
    assert set(group.accounts) == {"c"}


def test_the_seconds_that_wait_are_those_of_all_of_one_and_of_others_up_to_a_limit(group):
    other = Key(256)
    group._costs.learn(other.cost, 32, 0.032)
    for name, num_rows in (("a", 100), ("b", 10), ("c", 20)):
        add(group, name, num_rows)
    add(group, "a", 100, other)
    assert group.backlog() == pytest.approx(1.4)
    assert [group.backlog_of(name) for name in "abd"] == pytest.approx([1.1, 0.1, 0.0])
    assert group.seconds_of_others("b", 0.15) == pytest.approx(0.15 + 0.15)


def test_rows_of_a_caller_that_has_gone_are_subtracted_from_the_class(group):
    _, one = add(group, "a", 5)
    group.subtract(None, one, 5)
    assert not group.rows
