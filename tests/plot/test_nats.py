"""Axes of scores."""

import numpy as np
import pytest

from anomaly_vae.plot.canvas import new_figure
from anomaly_vae.plot.nats import NatsAxis

NEAR = np.linspace(-10, 10, 101)
FAR = np.append(NEAR, -5000.0)


def test_scores_of_one_size_have_a_plain_axis_that_holds_the_thresholds():
    axis = NatsAxis(NEAR, -12.0, 15.0)
    assert not axis.is_squeezed
    assert axis.low < -12.0
    assert axis.high > 15.0
    assert (axis.squeeze(3.0), axis.stretch(3.0)) == (3.0, 3.0)


def test_far_scores_are_squeezed_and_the_normal_ones_keep_half_of_the_axis():
    axis = NatsAxis(FAR, -12.0)
    assert axis.is_squeezed
    np.testing.assert_allclose(axis.stretch(axis.squeeze(FAR)), FAR, rtol=1e-9, atol=1e-9)
    places = axis.squeeze(np.array([axis.low, -5000.0, -10.0, 10.0, axis.high]))
    assert (np.diff(places) > 0).all()
    assert places[3] - places[2] > 0.15 * (places[4] - places[0])


@pytest.mark.parametrize("scores", [NEAR, FAR, np.append(FAR, 1e7), np.array([3.0]), np.full(5, -2.0), np.array([])])
@pytest.mark.parametrize("most", [3, 6])
def test_ticks_are_few_round_and_inside(scores, most):
    axis = NatsAxis(scores)
    ticks = axis.ticks(most)
    assert 1 <= len(ticks) <= most + 1
    assert axis.low <= ticks[0]
    assert ticks[-1] <= axis.high
    assert (np.diff(ticks) > 0).all()


def test_bins_look_equally_wide():
    axis = NatsAxis(FAR, -12.0)
    widths = np.diff(axis.squeeze(axis.even(10)))
    np.testing.assert_allclose(widths, widths[0])


def test_infinite_scores_are_at_the_end_of_the_axis():
    axis = NatsAxis(np.append(NEAR, [-np.inf, np.nan]), -np.inf, None)
    assert np.isfinite([axis.low, axis.high]).all()
    shown = axis.visible(np.array([-np.inf, 1.0, np.nan]))
    assert shown[:2].tolist() == [axis.low, 1.0]
    assert np.isnan(shown[2])


@pytest.mark.parametrize("scores", [NEAR, FAR])
@pytest.mark.parametrize("which", ["x", "y"])
def test_an_axis_of_matplotlib_gets_the_limits_and_ticks(scores, which):
    axes = new_figure(400, 300).subplots()
    axis = NatsAxis(scores, -12.0)
    axis.apply(axes, which)
    assert getattr(axes, f"get_{which}lim")() == (axis.low, axis.high)
    assert getattr(axes, f"get_{which}scale")() == ("function" if axis.is_squeezed else "linear")
    if axis.is_squeezed:
        texts = [text.get_text() for text in getattr(axes, f"get_{which}ticklabels")()]
        assert texts == [f"{tick:,g}".replace("-", "\N{MINUS SIGN}") for tick in axis.ticks()]
