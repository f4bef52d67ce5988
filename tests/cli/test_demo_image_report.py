"""The report of the demo of images, for scores whose figures are known."""

from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pytest

from anomaly_vae.cli.demo_image_report import print_kinds
from anomaly_vae.training.demo_image_data import DemoImages
from tests.support.drawn_scores import drawn_scores

IMAGES = DemoImages(
    np.zeros((1, 1, 2), np.uint8), np.zeros((6, 1, 2), np.uint8), ("digit",) * 3 + ("letter", "inverted", "noise")
)
SCORES = drawn_scores([4.0, -1.0, 3.0, -5.0, -6.0, 3.5])


def scorer(upper):
    return SimpleNamespace(threshold=0.0, upper_threshold=upper, info={"calibration": {"effective_fpr": 0.5}})


@pytest.mark.parametrize(("upper", "limits"), [(None, "below 0.00"), (9.0, "below 0.00 or above 9.00")])
def test_the_figures_are_those_of_digits_and_of_other_images(tmp_path, capsys, upper, limits):
    """Of 9 pairs of a digit and another image 7 are in the right order: 3.5 is above two digits.

    The other images rank 1st, 2nd and 5th from below: the average precision is (1/1 + 2/2 + 3/5) / 3.
    """
    print_kinds(scorer(upper), IMAGES, SCORES, tmp_path / "scores.csv", quiet=True)
    assert capsys.readouterr().out.splitlines() == [
        "AUROC 0.7778   average precision 0.8667",
        "false-positive rate 0.3333 (1 of 3 digits), at most 0.5000 expected on average",
        f"flagged 2 of 3 other images: {limits} nats",
    ]
    written = pyarrow.csv.read_csv(tmp_path / "scores.csv")
    assert written["kind"].to_pylist() == list(IMAGES.kinds)
    np.testing.assert_allclose(written["bits_per_dim"].to_numpy(), -SCORES.log_px / (2 * np.log(2)))


def test_the_table_has_a_line_for_each_kind(tmp_path, capsys):
    print_kinds(scorer(None), IMAGES, SCORES, tmp_path / "scores.csv", quiet=False)
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line][:4] for line in lines] == [
        ["digit", "3", "1", "3.0"],
        ["letter", "1", "1", "-5.0"],
        ["inverted", "1", "1", "-6.0"],
        ["noise", "1", "0", "3.5"],
    ]
