"""The report of the demo, for scores whose figures are known."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
import pyarrow.csv
import pytest

from anomaly_vae.cli.demo_report import print_report, save_picture

SCORER = SimpleNamespace(threshold=-5.0, info={"calibration": {"effective_fpr": 0.25}})


@pytest.fixture
def scores(tmp_path):
    """Four benign and three malignant rows; one benign and two malignant rows are flagged; one error is missing."""
    path = tmp_path / "scores.csv"
    log_px = [1.0, -900.0, 3.0, 2.0, -6.0, 4.0, 0.0]
    columns = {
        "malignant": [0, 1, 0, 0, 1, 1, 0],
        "log_px": log_px,
        "std_error": [0.1, None, 0.1, 0.1, 0.1, 0.1, 0.1],
        "p_value": [0.5] * 7,
        "is_anomaly": [False, True, False, False, True, False, True],
    }
    pyarrow.csv.write_csv(pa.table(columns), path)
    return path


def test_the_figures_are_those_of_the_flags_and_ranks(scores, capsys):
    """Of 12 pairs of a malignant and a benign row, 8 are in the right order: the row at 4.0 is above all four.

    The malignant rows rank 1st, 2nd and 7th of 7: the average precision is (1/1 + 2/2 + 3/7) / 3.
    """
    print_report(SCORER, scores, scores, quiet=True)
    assert capsys.readouterr().out.splitlines() == [
        "AUROC 0.6667   average precision 0.8095",
        "false-positive rate 0.2500 (1 of 4 benign rows), at most 0.2500 expected",
        "flagged 2 of 3 malignant rows; threshold -5.00 nats",
    ]


def test_the_table_has_the_worst_rows_with_their_explanations(scores, tmp_path, capsys):
    """In their order; it explains a missing error."""
    columns = {
        "row": [2, 5],
        "malignant": [1, 0],
        "log_px": [-900.0, -6.0],
        "std_error": [None, 0.1],
        "p_value": [0.5, 0.5],
        "is_anomaly": [True, False],
        "why_1": ["size [9]", None],
    }
    pyarrow.csv.write_csv(pa.table(columns), tmp_path / "worst.csv")
    print_report(SCORER, scores, tmp_path / "worst.csv", quiet=False)
    text = capsys.readouterr().out
    first = next(line for line in text.splitlines() if "malignant" in line)
    assert [cell.strip() for cell in first.strip("│ \n").split("│")] == [
        "2",
        "-900.00 ± n/a",
        "0.500",
        "malignant",
        "size [9]",
    ]
    assert "n/a: a few samples carry the whole estimate" in text
    assert text.index("-900.00") < text.index("-6.00 ± 0.10")
    assert "benign" in text
    assert "None" not in text


def test_the_picture_is_a_png_and_leaves_no_other_file(scores, tmp_path, monkeypatch):
    """The scores span from 4 to -900 nats, so the axis is linear in the middle and logarithmic beyond."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "fonts"))
    save_picture(SCORER, scores, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert {path.name for path in tmp_path.iterdir()} - {"fonts"} == {"scores.csv", "picture.png"}
