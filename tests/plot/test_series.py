"""The picture of series: what it draws, on the figure of matplotlib."""

import numpy as np
import pytest
from matplotlib import colors

from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot import plot_series
from anomaly_vae.plot.canvas import BAND, FLAGGED
from tests.support.drawn_scores import drawn_scores

LENGTH = 10


def example(num_steps=200, num_channels=2, flags=(60, 61, 62, 150)):
    """Values, and scores with a warm-up and these flags."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(num_steps, num_channels))
    score = 20 + rng.random(num_steps)
    score[list(flags)] = -5.0
    score[: LENGTH - 1] = np.nan
    reasons = ["warm-up: the first 9 steps have no full window"] * (LENGTH - 1) + [None] * (num_steps - LENGTH + 1)
    return values, drawn_scores(score, step_score=score - 0.5, reasons=reasons)


def spans(axes, color):
    """The spans of this colour, (n, 2)."""
    found = [each for each in axes.collections if np.allclose(each.get_facecolor()[0, :3], colors.to_rgb(color))]
    return np.array(
        [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for each in found for path in each.get_paths()]
    )


def line(axes, label):
    return next(each for each in axes.lines if each.get_label() == label)


def test_channels_have_panels_above_the_score_with_its_threshold():
    values, scores = example()
    figure = plot_series(None, None, values, ["load", "flow"], scores, -2.5, title="Pump")
    load, flow, score = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["load", "flow", "score, nats (squeezed)"]
    assert load.lines[0].get_ydata().tolist() == values[:, 0].tolist()
    assert flow.lines[0].get_ydata().tolist() == values[:, 1].tolist()
    assert line(score, "score of the window that ends here").get_ydata().tolist() == scores.score[LENGTH - 1 :].tolist()
    assert line(score, "step score (looks at later steps too)").get_ydata()[0] == scores.step_score[LENGTH - 1]
    assert set(line(score, "threshold").get_ydata()) == {-2.5}
    assert figure.get_suptitle() == "Pump\n200 steps, 4 flagged"


def test_flags_and_the_warm_up_are_bands_in_every_panel():
    values, scores = example()
    for axes in plot_series(None, None, values, ["a", "b"], scores, 0.0).axes:
        assert spans(axes, FLAGGED).tolist() == [[59.5, 62.5], [149.5, 150.5]]
        assert spans(axes, BAND).tolist() == [[-0.5, 8.5]]
    dots = next(each for each in axes.lines if each.get_marker() == "o")
    assert dots.get_xdata().tolist() == [60, 61, 62, 150]


def test_a_long_series_keeps_its_peak_and_every_flag():
    rng = np.random.default_rng(1)
    flags = np.sort(rng.choice(np.arange(100, 200_000), size=300, replace=False))
    values, scores = example(200_000, 1, flags)
    values[123_456] = 1000.0
    channel, score = plot_series(None, None, values, ["a"], scores, 0.0).axes
    assert len(channel.lines[0].get_xdata()) < 7000
    assert channel.lines[0].get_ydata().max() == 1000.0
    found = spans(score, FLAGGED)
    assert ((flags[:, None] >= found[:, 0]) & (flags[:, None] <= found[:, 1])).any(axis=1).all()
    assert len(found) < 1500
    assert line(score, "score of the window that ends here").get_ydata().min() == -5.0


def test_both_thresholds_are_drawn_and_infinite_ones_are_not():
    values, scores = example()

    def heights(*thresholds):
        axes = plot_series(None, None, values, ["a", "b"], scores, *thresholds).axes[-1]
        return sorted(each.get_ydata()[0] for each in axes.lines if each.get_linestyle() == "--")

    assert heights(0.0, 30.0) == [0.0, 30.0]
    assert heights(-np.inf, None) == []
    assert heights(None) == []


def test_dates_are_on_the_axis_and_gaps_break_the_line():
    values, scores = example()
    keep = np.r_[0:80, 120:200]
    times = np.datetime64("2024-03-01") + np.arange(200) * np.timedelta64(1, "D")
    figure = plot_series(None, times[keep], values[keep], ["a", "b"], scores[keep], 0.0)
    figure.canvas.draw()
    labels = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
    assert {"Apr", "May"} <= set(labels)
    assert np.isnan(figure.axes[0].lines[0].get_ydata()).sum() == 1


def test_of_many_channels_six_are_drawn_and_a_note_says_so():
    values, scores = example(num_channels=8)
    figure = plot_series(None, None, values, [f"c{i}" for i in range(8)], scores, 0.0)
    assert len(figure.axes) == 7
    assert "the first 6 of 8 channels" in figure.get_suptitle()


def test_of_several_series_the_six_most_anomalous_are_drawn():
    values = example(200, 2, ())[0]
    names = np.array([f"host {i // 25}" for i in range(200)])
    score = np.where(names == "host 5", -9.0, np.where(names == "host 3", -3.0, 20.0))
    figure = plot_series(
        None, np.arange(200) % 25, values, ["a", "b"], drawn_scores(score, step_score=score), 0.0, names=names
    )
    assert len(figure.axes) == 12
    assert [axes.get_title("left") for axes in figure.axes[::2]][:2] == ["host 5", "host 3"]
    assert [axes.get_title("right") for axes in figure.axes[1::2]][:3] == [
        "25 steps, 25 flagged",
        "25 steps, 25 flagged",
        "25 steps, 0 flagged",
    ]
    assert "8 series, the most anomalous first   |   2 more are not shown" in figure.get_suptitle()
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["a", "b"]


def test_channels_of_several_series_are_in_standard_deviations():
    values, scores = example(100, 2, ())
    figure = plot_series(
        None, np.arange(100) % 50, values * [1, 1e6], ["a", "b"], scores, 0.0, names=["x"] * 50 + ["y"] * 50
    )
    for drawn in figure.axes[0].lines:
        assert np.abs(drawn.get_ydata()).max() < 5


def test_scores_without_flags_are_drawn_without_bands():
    values, _ = example()
    scores = drawn_scores(np.zeros(200), step_score=np.zeros(200), p_value=False)
    axes = plot_series(None, None, values, ["a", "b"], scores, None).axes[-1]
    assert len(axes.collections) == 0
    assert axes.get_title("right") == "scored without flags"


def test_a_file_is_written(tmp_path):
    values, scores = example()
    assert plot_series(tmp_path / "a.png", None, values, ["a", "b"], scores, 0.0) is None
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (1600, 900)


@pytest.mark.parametrize(
    ("values", "channels", "rows", "message"),
    [
        (np.zeros((5, 2)), ["a"], 5, r"values: shape \(5, 2\), expected \(rows, 1 channels\)"),
        (np.zeros((5, 1)), ["a"], 4, r"scores: 4 entries for 5 rows of values"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(values, channels, rows, message):
    scores = drawn_scores(np.zeros(rows), step_score=np.zeros(rows))
    with pytest.raises(InvalidInput, match=message):
        plot_series(None, None, values, channels, scores, 0.0)


def test_rows_without_times_are_refused():
    scores = drawn_scores(np.zeros(2), step_score=np.zeros(2))
    with pytest.raises(InvalidInput, match="times: no row has a time"):
        plot_series(None, [np.nan, np.nan], np.zeros(2), ["a"], scores, 0.0)
