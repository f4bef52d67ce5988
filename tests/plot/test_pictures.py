"""The picture of images."""

import math

import numpy as np
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot import plot_images
from anomaly_vae.plot.canvas import BAND, FLAGGED
from anomaly_vae.plot.pictures import MOST_COLUMNS
from tests.support.drawn_scores import drawn_scores

# 30 grey images of 4 x 4 pixels that differ in one value, and their scores in a random order: two below 0.
SCORE = np.random.default_rng(0).permutation(30) - 2.0
IMAGES = np.repeat(np.arange(30, dtype=np.uint8) * 8, 16).reshape(30, 4, 4)


def rows_of(figure):
    """The numbers of the images in each row of the picture."""
    grid = {}
    for axes in figure.axes:
        if axes.images:
            row = axes.get_subplotspec().rowspan.start
            grid.setdefault(row, []).append(round(axes.images[0].get_array()[0, 0, 0] * 255 / 8))
    return list(grid.values())


def frames_of(figure):
    return [axes.spines["left"].get_edgecolor() for axes in figure.axes if axes.images]


def test_the_least_and_the_most_likely_images_are_drawn_in_order():
    order = np.argsort(SCORE)
    assert rows_of(plot_images(None, IMAGES, drawn_scores(SCORE))) == [
        order[:MOST_COLUMNS].tolist(),
        order[::-1][:MOST_COLUMNS].tolist(),
    ]


def test_few_images_appear_once():
    """Five: three are the least likely, two the most likely."""
    order = np.argsort(SCORE[:5])
    found = rows_of(plot_images(None, IMAGES[:5], drawn_scores(SCORE[:5])))
    assert found == [order[:3].tolist(), order[::-1][:2].tolist()]
    assert rows_of(plot_images(None, IMAGES[:1], drawn_scores(SCORE[:1]))) == [[0]]


def test_reconstructions_stand_below_their_images_and_samples_at_the_end():
    figure = plot_images(None, IMAGES, drawn_scores(SCORE), reconstructions=IMAGES[:, ::-1], samples=IMAGES[3:9])
    rows = rows_of(figure)
    assert rows[0] == rows[1]
    assert rows[2] == rows[3]
    assert rows[4] == [3, 4, 5, 6, 7, 8]
    names = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert names == ["least likely", "reconstructed", "most likely", "reconstructed", "samples"]


def test_captions_have_the_name_log_p_the_p_value_and_bits_per_dimension():
    scores = drawn_scores([-100.0, 5.0])
    names = ["folder/of/images/with/a/long/name.png", "b.png"]
    captions = [axes.get_title() for axes in plot_images(None, IMAGES[:2], scores, names=names).axes if axes.images]
    assert captions[0].splitlines()[0] == "…" + names[0][-21:]
    assert "log p −100.0, p 0.01\n" in captions[0]
    assert f"{100 / (16 * math.log(2)):.3g} bits/dim" in captions[0]
    assert captions[1].startswith("b.png\nlog p 5.0, p 0.5\n")


def test_flagged_images_have_a_frame():
    from matplotlib.colors import to_rgba

    frames = frames_of(plot_images(None, IMAGES, drawn_scores(SCORE)))
    assert frames[:2] == [to_rgba(FLAGGED)] * 2
    assert frames[2:] == [to_rgba(BAND)] * 18


def test_images_without_a_score_are_left_out():
    score = SCORE.copy()
    score[[3, 4]] = np.nan
    found = rows_of(plot_images(None, IMAGES[:8], drawn_scores(score[:8])))
    assert sorted(number for row in found for number in row) == [0, 1, 2, 5, 6, 7]


@pytest.mark.parametrize("images", [np.zeros((4, 3, 5)), np.ones((4, 3, 5, 3)), np.full((4, 3, 5, 3), 200, np.uint8)])
def test_colours_and_reals_are_drawn(images, tmp_path):
    plot_images(tmp_path / "a.png", images, drawn_scores(np.arange(4.0)), title="All")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": drawn_scores([1.0])}, "scores: 1 entries for 30 images"),
        ({"names": ["a"]}, "names: 1 entries for 30 images"),
        ({"reconstructions": IMAGES[:2]}, "reconstructions: 2 entries for 30 images"),
        ({"scores": drawn_scores(np.full(30, np.nan))}, "scores: no image has a score"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        plot_images(None, IMAGES, **({"scores": drawn_scores(SCORE)} | options))


def test_where_the_least_likely_images_are_surprising_stands_below_them():
    """White where it is not, dark where it is most, for each image alone."""
    heat = np.zeros((30, 4, 4, 1))
    heat[:, 1, 2] = np.arange(30.0)[:, None] + 1.0
    heat[:, 0, 0] = -5.0
    figure = plot_images(None, IMAGES, drawn_scores(SCORE), heat=heat)
    lines = {}
    for axes in figure.axes:
        if axes.images:
            lines.setdefault(axes.get_subplotspec().rowspan.start, []).append(axes.images[0].get_array())
    assert len(lines) == 3
    for drawn in lines[1]:
        assert drawn[1, 2].sum() < 1.0
        np.testing.assert_array_equal(drawn[0, 0], drawn[3, 3])
        assert drawn[0, 0].min() > 0.9
    with pytest.raises(InvalidInput, match="heat: 29 entries for 30 images"):
        plot_images(None, IMAGES, drawn_scores(SCORE), heat=heat[1:])
