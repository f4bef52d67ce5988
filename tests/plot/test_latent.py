"""The map of the latent space."""

import numpy as np
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot import plot_latent

LATENTS = np.random.default_rng(0).normal(size=(100, 2))
ODD = np.arange(100) < 7


def points(axes):
    """The points of each label."""
    return {each.get_label(): each.get_offsets().tolist() for each in axes.collections}


def test_anomalies_are_points_of_their_own():
    axes = plot_latent(None, LATENTS, ODD, title="Map").axes[0]
    assert points(axes) == {"not flagged (93)": LATENTS[7:].tolist(), "flagged (7)": LATENTS[:7].tolist()}
    assert axes.get_title("left") == "Map"
    assert axes.get_aspect() == 1.0


def test_without_flags_and_labels_all_points_are_one_cloud():
    axes = plot_latent(None, LATENTS).axes[0]
    assert [len(each.get_offsets()) for each in axes.collections] == [100]
    assert axes.get_title("left") == "100 rows in the latent space"
    assert axes.get_legend() is None


def test_labels_have_colours_and_rare_ones_share_grey():
    """12 labels: the two with the fewest rows are the others; a flagged row is in no label."""
    labels = [f"l{min(i % 14, 11):02d}" if i % 25 else "rare" for i in range(100)]
    found = points(plot_latent(None, LATENTS, ODD, labels).axes[0])
    assert len(found) == 10 + 1 + 1
    assert sum(map(len, found.values())) == 100
    assert any("others" in label for label in found)


def test_numbers_have_a_scale():
    figure = plot_latent(None, LATENTS, None, np.arange(100.0))
    assert len(figure.axes) == 2
    assert figure.axes[0].collections[0].get_array().tolist() == list(range(100))


def test_a_file_is_written(tmp_path):
    plot_latent(tmp_path / "a.png", LATENTS, ODD)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((5, 3)),), r"latents: shape \(5, 3\), expected \(N, 2\); project"),
        ((LATENTS, ODD[:3]), "is_anomaly: 3 entries for 100 rows"),
        ((LATENTS, None, ["a"]), "labels: 1 entries for 100 rows"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        plot_latent(None, *arguments)
