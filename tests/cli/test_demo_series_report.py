"""The report of the demo of series, for scores whose figures are known."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv

from anomaly_vae.cli.demo_series_report import Spell, print_flags, spells_of
from tests.support.drawn_scores import drawn_scores

SCORER = SimpleNamespace(
    threshold=0.0,
    info={"calibration": {"effective_fpr": 0.25}},
    schema=SimpleNamespace(shape=SimpleNamespace(length=2)),
)

# Eight months with one of El Niño, the third: the windows of two months that end in the third and the fourth hold it.
MONTHS = [f"2000-{month:02}-01" for month in range(1, 9)]
ROWS = pa.table({"month": MONTHS, "el_nino": ["0", "0", "1", "0", "0", "0", "0", "0"]})
SCORE = np.array([np.nan, 5.0, -3.0, -7.0, 4.0, 6.0, -1.0, 8.0])


def test_spells_are_runs_of_flagged_rows():
    assert spells_of(drawn_scores(SCORE)) == [Spell(2, 3, 3), Spell(6, 6, 6)]
    assert spells_of(drawn_scores([-1.0, 1.0, -1.0])) == [Spell(0, 0, 0), Spell(2, 2, 2)]
    assert spells_of(drawn_scores([1.0, 2.0])) == []


def test_the_figures_count_windows_with_and_without_an_event(tmp_path, capsys):
    print_flags(SCORER, ROWS, drawn_scores(SCORE, step_score=SCORE), tmp_path / "scores.csv", quiet=True)
    assert capsys.readouterr().out.splitlines() == [
        "AUROC 1.0000   average precision 1.0000",
        "false-positive rate 0.2000 (1 of 5 windows without El Niño), at most 0.2500 expected on average",
        "flagged 2 of 2 windows with at least one month of El Niño; threshold 0.00 nats",
    ]
    written = pyarrow.csv.read_csv(tmp_path / "scores.csv")
    assert written.column_names[:3] == ["month", "el_nino", "log_px"]
    assert written["is_anomaly"].to_pylist() == [None, False, True, True, False, False, True, False]


def test_the_table_shows_each_spell_and_its_truth(tmp_path, capsys):
    print_flags(SCORER, ROWS, drawn_scores(SCORE, step_score=SCORE), tmp_path / "scores.csv", quiet=False)
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["2000-03", "2000-04", "-7.00 ± 0.10", "0.010", "El Niño"],
        ["2000-07", "2000-07", "-1.00 ± 0.10", "0.010", ""],
    ]
