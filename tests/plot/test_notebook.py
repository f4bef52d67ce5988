"""Pictures for notebooks: what they show, on given axes and on new ones."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colors

from anomaly_vae import plot
from anomaly_vae.errors import InvalidInput
from anomaly_vae.explained import Why
from anomaly_vae.plot.canvas import FLAGGED, NORMAL, literal, new_figure
from anomaly_vae.plot.notebook import chance_band
from tests.support.data import make_rows
from tests.support.drawn_scores import drawn_scores

COMMON = {"nats": 9.0, "p_value_without": 0.25}
WHYS = [
    Why(
        column="size",
        value=90.0,
        std_error=0.5,
        excess=30.0,
        low=1.0,
        middle=2.0,
        high=3.0,
        together=("age",),
        **COMMON,
    ),
    Why(column="city", value="x" * 50, std_error=np.nan, excess=-2.0, levels=(("Oslo", 0.9), ("Rome", 0.1)), **COMMON),
]


def test_each_column_of_a_row_has_a_bar_of_its_excess_with_what_was_expected():
    axes = plot.waterfall(WHYS)
    assert [bar.get_width() for bar in axes.patches] == [30.0, -2.0]
    found = [colors.to_hex(bar.get_facecolor()).upper() for bar in axes.patches]
    assert found == [FLAGGED, NORMAL]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["size\n90", f"city\n'{'x' * 26}…"]
    texts = [text.get_text() for text in axes.texts]
    assert texts == [f"expected {each}\np-value 0.25 without it" for each in ("1 to 3", "'Oslo' (90%) or 'Rome' (10%)")]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the most surprising one is on top
    assert axes.get_title(loc="left") == "Why this row: size does not fit age"
    with pytest.raises(InvalidInput, match="no column to draw"):
        plot.waterfall([])


def test_texts_with_dollars_are_no_formulas():
    """Matplotlib reads what is between two of them as a formula, and fails if it is none."""
    why = Why(column="price $^$", value="US$ {5$", std_error=0.1, excess=3.0, levels=(("$_$", 0.9),), **COMMON)
    axes = plot.waterfall([why])
    axes.figure.canvas.draw()
    assert axes.get_yticklabels()[0].get_text() == literal("price $^$\n'US$ {5$'")


def test_new_axes_are_shown_by_notebooks_and_given_ones_are_drawn_on():
    assert plot.waterfall(WHYS)._repr_png_().startswith(b"\x89PNG")
    left, right = new_figure(800, 400).subplots(1, 2)
    scores = drawn_scores(np.linspace(-1.0, 20.0, 100))
    assert plot.distribution(scores, 0.0, ax=left) is left
    assert plot.p_values(scores, ax=right) is right
    left.figure.canvas.draw()


class Thresholds:
    def thresholds(self):
        return 0.0, 25.0


@pytest.mark.parametrize(
    ("threshold", "lines"), [(None, []), (1.5, [1.5]), ((0.0, None), [0.0]), (Thresholds(), [0.0, 25.0])]
)
def test_the_distribution_has_the_thresholds_that_are_given(threshold, lines):
    axes = plot.distribution(drawn_scores(np.linspace(-1.0, 20.0, 100)), threshold)
    assert [line.get_xdata()[0] for line in axes.lines] == lines
    with pytest.raises(InvalidInput, match="no row has a score"):
        plot.distribution(drawn_scores([np.nan]))


def test_p_values_have_bars_a_band_and_the_share_of_rows_up_to_each():
    """Of 200 rows a quarter has the p-value 0.01, the others 0.5."""
    score = np.r_[-np.ones(50), np.ones(150), np.nan]
    axes = plot.p_values(drawn_scores(score))
    heights = [bar.get_height() for bar in axes.patches if bar.get_width() < 0.1]
    assert (heights[0], heights[9], sum(heights)) == (50, 150, 200)
    (shares,) = [each for each in axes.figure.axes if each is not axes]
    x, y = shares.lines[1].get_data()
    assert y[np.searchsorted(x, 0.01, side="right") - 1] == 0.25
    assert y[-1] == 1.0
    with pytest.raises(InvalidInput, match="no p-values"):
        plot.p_values(drawn_scores(score, p_value=False))


def test_a_p_value_on_a_border_belongs_to_the_bar_that_ends_there():
    scores = drawn_scores(np.zeros(100))
    axes = plot.p_values(type(scores)(**{**vars(scores), "p_value": np.arange(1, 101) / 100}))
    assert {bar.get_height() for bar in axes.patches if bar.get_width() < 0.1} == {5}


@pytest.mark.parametrize("num_rows", [40, 400, 100_000])
def test_chance_leaves_the_band_in_five_percent_of_the_cases_at_most(num_rows):
    """Drawn from the multinomial distribution, of which one bin is binomial."""
    low, high = chance_band(num_rows, 20)
    counts = np.random.default_rng(0).binomial(num_rows, 0.05, 40_000)
    left = np.mean((counts < low) | (counts > high))
    assert 0.005 < left < 0.055


def test_a_map_has_a_colour_and_a_place_for_every_row(scorer):
    rows = make_rows(60, seed=2)
    rows[7, 1] = 1.0
    scores = scorer.score(rows)
    axes = plot.latent_map(scorer, rows)
    usual, odd = axes.collections[:2]
    flagged = scores.is_anomaly
    assert (len(usual.get_offsets()), len(odd.get_offsets())) == ((~flagged).sum(), flagged.sum())
    np.testing.assert_array_equal(odd.get_array(), scores.log_px[flagged])
    assert usual.get_clim()[0] >= scores.log_px[~flagged].min()
    with pytest.raises(InvalidInput, match="X has no rows"):
        plot.latent_map(scorer, rows[:0])


def test_long_texts_leave_room_for_the_bars():
    long = Why(column="c", value="a", std_error=0.1, excess=9.0, levels=(("x" * 90, 0.9), ("y" * 90, 0.1)), **COMMON)
    (text,) = (each.get_text() for each in plot.waterfall([long]).texts)
    assert text.splitlines()[0] == f"expected '{'x' * 42}…"
