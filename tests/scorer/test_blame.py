"""Who is to blame: one wrong cell, two that are strange only together, and two that hide each other."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.scorer.blame import blame
from anomaly_vae.scorer.known import known_of
from anomaly_vae.scorer.surprises import Surprises
from tests.support.exact_models import Lines, estimator_of, gaussian_vae, set_linear
from tests.support.judges import judge_of

THRESHOLD = -12.0


@pytest.fixture(scope="module")
def looks():
    """Columns 0 and 1 measure z_1, columns 2 to 5 measure z_2, each with a standard deviation of 0.1."""
    loadings = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]], dtype=float)
    vae = gaussian_vae(Lines([0.0] * 6, [1.0] * 6), (), 2, [np.log(0.01)] * 6)
    set_linear(vae.decoder[0], loadings, np.zeros(6))
    set_linear(vae.encoder.net[0], np.zeros((4, 12)), np.zeros(4))
    return Surprises(judge_of(estimator_of(vae, points=64), threshold=THRESHOLD))


def blamed(looks, row, top=3):
    rows = np.array([row], dtype=float)
    return blame(looks, rows, known_of(looks._judge, rows), top)[0]


def test_the_wrong_cell_is_blamed_and_no_other_shares_it(looks):
    first, *others = blamed(looks, [0.1, 0.1, 0.5, 0.5, 0.5, 2.5])
    assert first.surprise.region == 5
    assert first.nats > 50.0
    assert not first.surprise.rest.is_anomaly[0]
    assert len(others) >= 2
    # Given the wrong cell the others are surprising, but not without it: they come after it by what is left.
    assert max(other.surprise.excess for other in others) > 3.0
    assert all(other.nats < 3.0 for other in others)


def test_two_cells_that_do_not_fit_each_other_share_the_surprise(looks):
    """Without either of them the other is fine: nothing says which is wrong."""
    first, second, *_ = blamed(looks, [1.0, -1.0, 0.2, 0.2, 0.2, 0.2])
    assert {first.surprise.region, second.surprise.region} == {0, 1}
    assert first.together == [second.surprise.region]
    assert second.together == [first.surprise.region]


def test_a_pair_that_hides_itself_is_found_by_the_second_look(looks):
    """Two cells against two: without one of them the row is still strange, without both of one side it is not."""
    first, second, *_ = blamed(looks, [0.1, 0.1, 0.2, 0.2, 1.2, 1.2])
    assert {first.surprise.region, second.surprise.region} in ({2, 3}, {4, 5})
    assert first.surprise.rest.is_anomaly[0]
    hidden, other = (first, second) if first.nats > first.surprise.excess else (second, first)
    assert hidden.together == [other.surprise.region]
    assert hidden.nats > hidden.surprise.excess + 3.0


def test_two_cells_that_agree_on_something_strange_are_found_together(looks):
    """Each of the two is as the other says, so alone neither is surprising; only three regions get a close look."""
    found = blamed(looks, [8.0, 7.92, 0.2, 0.2, 0.2, 0.2])
    first, second, *_ = found
    assert {first.surprise.region, second.surprise.region} == {0, 1}
    assert all(each.surprise.excess < 3.0 for each in found)
    assert first.nats > 20.0
    assert first.together == [second.surprise.region]


def test_a_normal_row_has_no_large_blame(looks):
    assert all(each.nats < 3.0 and not each.together for each in blamed(looks, [0.1, 0.12, 0.5, 0.45, 0.52, 0.5]))


def test_rows_do_not_depend_on_each_other(looks):
    rows = np.array(
        [[0.1, 0.1, 0.5, 0.5, 0.5, 2.5], [1.0, -1.0, 0.2, 0.2, 0.2, 0.2], [0.1, 0.12, 0.5, 0.45, 0.52, 0.5]]
    )
    together = blame(looks, rows, known_of(looks._judge, rows), 3)
    for row, found in zip(rows, together, strict=True):
        alone = blame(looks, row[None], known_of(looks._judge, row[None]), 3)[0]
        assert [(a.surprise.region, a.nats, a.together) for a in alone] == [
            (f.surprise.region, f.nats, f.together) for f in found
        ]


def test_as_many_as_are_asked_for_and_present(looks):
    assert len(blamed(looks, [0.1, 0.1, 0.5, 0.5, 0.5, 2.5], top=5)) == 5
    assert len(blamed(looks, [0.1, np.nan, 0.5, np.nan, np.nan, np.nan], top=5)) == 2
    assert blamed(looks, [np.nan] * 6) == []
