"""Scores of rows with missing cells on the scale of complete rows."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from anomaly_vae.columns.adjustment import Adjustment, Level, quantile_map


def test_the_map_takes_quantiles_to_quantiles_and_back():
    rng = np.random.default_rng(0)
    masked, whole = rng.normal(size=500), 3.0 * rng.standard_t(4, size=500) - 20.0
    level = quantile_map(masked, whole, 2)
    adjustment = Adjustment(parts=(1.0, -2.0, 0.5, 0.0), levels=(level,))
    assert adjustment.fits(4)
    missing = np.zeros((500, 4), dtype=bool)
    missing[:, [1, 2]] = True
    score = adjustment.forward(np.sort(masked) + 1.5, missing)
    np.testing.assert_allclose(score[:60], np.sort(whole)[:60], rtol=1e-9)
    assert np.all(np.diff(score) > 0)
    for value in (-300.0, -20.0, 5.0):
        back = adjustment.backward(value, missing[:1])
        assert adjustment.forward(back, missing[:1])[0] == pytest.approx(value, abs=1e-9)


def test_a_row_takes_the_map_of_the_nearest_number_of_gaps():
    levels = tuple(Level(missing=m, masked=(0.0,), whole=(100.0 * m,)) for m in (1, 4))
    adjustment = Adjustment(parts=(0.0,) * 6, levels=levels)
    missing = np.arange(6) < np.arange(7)[:, None]
    np.testing.assert_array_equal(adjustment.forward(np.zeros(7), missing), [0, 100, 100, 400, 400, 400, 400])


def test_a_complete_row_keeps_its_log_px():
    adjustment = Adjustment(parts=(5.0, 7.0), levels=(Level(missing=1, masked=(0.0,), whole=(100.0,)),))
    complete, log_px = np.zeros((3, 2), dtype=bool), np.array([-1.0, 2.0, 0.25])
    np.testing.assert_array_equal(adjustment.forward(log_px, complete), log_px)
    np.testing.assert_array_equal(adjustment.backward(0.25, complete), [0.25] * 3)


def test_without_maps_a_missing_cell_counts_as_its_part():
    adjustment, missing = Adjustment(parts=(5.0, 7.0)), np.array([[True, False], [False, True], [True, True]])
    np.testing.assert_array_equal(adjustment.forward(np.ones(3), missing), [6.0, 8.0, 13.0])
    np.testing.assert_array_equal(adjustment.backward(1.0, missing), [-4.0, -6.0, -11.0])


def test_a_map_has_increasing_knots_when_scores_are_equal():
    """Equal scores give one knot: a map with two would have no inverse."""
    level = quantile_map(np.array([1.0, 1.0, 1.0, 2.0]), np.array([3.0, 4.0, 4.0, 5.0]), 1)
    assert Adjustment(parts=(0.0,), levels=(level,)).fits(1)
    assert (level.masked, level.whole) == ((1.0, 2.0), (3.0, 5.0))


def test_beyond_its_knots_a_map_has_slope_one():
    """A score below all calibration rows must stay below them."""
    adjustment = Adjustment(parts=(0.0,), levels=(Level(missing=1, masked=(0.0, 1.0), whole=(10.0, 30.0)),))
    got = adjustment.forward(np.array([-2.0, 0.25, 4.0]), np.ones((3, 1), dtype=bool))
    np.testing.assert_allclose(got, [8.0, 15.0, 33.0])


ONE_KNOT = {"masked": (0.0,), "whole": (1.0,)}


@pytest.mark.parametrize(
    ("parts", "levels"),
    [
        ((0.0,), ()),
        ((0.0, 0.0), (Level(missing=1, masked=(), whole=()),)),
        ((0.0, 0.0), (Level(missing=1, masked=(0.0, 1.0), whole=(1.0,)),)),
        ((0.0, 0.0), (Level(missing=1, masked=(1.0, 1.0), whole=(1.0, 2.0)),)),
        ((0.0, 0.0), (Level(missing=1, masked=(1.0, 2.0), whole=(2.0, 1.0)),)),
        ((0.0, 0.0), (Level(missing=2, **ONE_KNOT), Level(missing=1, **ONE_KNOT))),
        ((0.0, 0.0), (Level(missing=1, **ONE_KNOT), Level(missing=1, **ONE_KNOT))),
    ],
)
def test_maps_that_have_no_inverse_do_not_fit(parts, levels):
    assert not Adjustment(parts=parts, levels=levels).fits(2)
    assert Adjustment(parts=(0.0, 0.0), levels=(Level(missing=1, **ONE_KNOT),)).fits(2)


def test_a_map_for_no_missing_cell_is_refused_by_its_name():
    with pytest.raises(msgspec.ValidationError, match=r"\$\.missing"):
        msgspec.convert({"missing": 0, "masked": [0.0], "whole": [0.0]}, Level)
