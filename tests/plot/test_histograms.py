"""The picture of the distribution of scores."""

import numpy as np
import pytest
from matplotlib import colors

from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot import plot_scores
from anomaly_vae.plot.canvas import FLAGGED, NORMAL
from tests.support.drawn_scores import drawn_scores

SCORE = np.concatenate([np.linspace(1, 20, 200), [-4000.0, -30.0, np.nan]])


def counted(axes, color):
    """The rows in the bars of this colour."""
    same = [bar for bar in axes.patches if np.allclose(bar.get_facecolor()[:3], colors.to_rgb(color))]
    return sum(bar.get_height() for bar in same)


def test_every_scored_row_is_in_a_bar_and_flagged_ones_have_their_colour():
    scores, p_values = plot_scores(None, drawn_scores(SCORE), 0.0).axes
    assert (counted(scores, NORMAL), counted(scores, FLAGGED)) == (200, 2)
    assert counted(p_values, NORMAL) == 202
    texts = [text.get_text() for text in scores.get_legend().get_texts()]
    assert texts == ["threshold 0.00 nats", "not flagged (200)", "flagged (2)"] or set(texts) == {
        "threshold 0.00 nats",
        "not flagged (200)",
        "flagged (2)",
    }


def test_thresholds_stand_where_they_are():
    axes = plot_scores(None, drawn_scores(SCORE), 0.0, 25.0).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.0, 25.0]
    assert axes.get_xlim()[1] > 25.0
    assert plot_scores(None, drawn_scores(SCORE), -np.inf).axes[0].lines[:] == []


def test_the_dashed_line_is_the_height_of_even_p_values():
    p_values = plot_scores(None, drawn_scores(SCORE), 0.0).axes[1]
    assert p_values.lines[0].get_ydata()[0] == 202 / 20


def test_scores_without_p_values_have_one_panel(tmp_path):
    assert len(plot_scores(None, drawn_scores(SCORE, p_value=False), None).axes) == 1
    plot_scores(tmp_path / "a.png", drawn_scores(SCORE, p_value=False), None)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_infinite_scores_are_counted_at_the_end():
    scores = plot_scores(None, drawn_scores(np.append(SCORE, -np.inf)), 0.0).axes[0]
    assert counted(scores, FLAGGED) == 3


def test_no_score_at_all_is_refused():
    with pytest.raises(InvalidInput, match="scores: no row has a score"):
        plot_scores(None, drawn_scores([np.nan]), 0.0)
