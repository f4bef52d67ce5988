"""A limit that callers share: half of it is reserved for callers that hold nothing."""

import pytest

from anomaly_vae.service.queue.shared_limit import SharedLimit


def fill(limit, callers):
    """Let each caller in turn take 1 until no one can take more; return what each holds."""
    held = dict.fromkeys(callers, 0)
    while able := [caller for caller in callers if limit.refusal(caller, 1) is None]:
        for caller in able:
            if limit.refusal(caller, 1) is None:
                limit.take(caller, 1)
                held[caller] += 1
    return held


@pytest.mark.parametrize(("num_callers", "part"), [(1, 4), (2, 6), (3, 8)])
def test_n_callers_get_one_part_in_2n_plus_2_each(num_callers, part):
    """n callers with h each leave limit/2 - n h of the shared half, which each must not exceed: h = limit/(2n + 2)."""
    held = fill(SharedLimit(2_400, "rows"), range(num_callers))
    assert all(abs(amount - 2_400 / part) <= 1 for amount in held.values())


def test_a_caller_that_holds_nothing_may_take_all_that_is_left():
    limit = SharedLimit(100, "rows are waiting")
    limit.take("first", 30)
    assert limit.refusal("second", 70) is None
    assert limit.refusal("second", 71) == "30 rows are waiting, at most 100 may; send it again later"


def test_what_is_given_back_is_free_again():
    limit = SharedLimit(100, "rows")
    limit.take("a", 25)
    assert limit.refusal("a", 1) is not None
    limit.give_back("a", 25)
    assert limit.total == 0
    assert limit.refusal("a", 100) is None
