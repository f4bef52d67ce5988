"""The progress is a bar on a terminal and plain lines elsewhere, on standard error, or nothing at all."""

from __future__ import annotations

import pytest

from anomaly_vae.training.loop import Evaluation, Progress
from anomaly_vae.training.progress_bar import ProgressCallbacks, training_progress


def test_without_a_display_there_are_no_callbacks_and_no_output(capsys):
    with training_progress(enabled=False) as bars:
        assert bars == ProgressCallbacks(None, None)
    assert capsys.readouterr() == ("", "")


def test_the_bar_shows_the_last_step_and_its_figures(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with training_progress(enabled=True) as bars:
        for step, best in ((50, -4.0), (150, -2.0)):
            bars.report("model 2 of 2", Progress(step, 400, 3.25, Evaluation(-2.5, 0.75, -1.75), best))
    out, err = capsys.readouterr()
    assert out == ""
    for part in (
        "model 2 of 2",
        "150/400",
        "loss 3.25",
        "held-out ELBO -2.50 (best -2.00)",
        "KL 0.75",
        "log p(x|z) -1.75",
    ):
        assert part in err
    assert "calibrating" not in err  # shown from the first calibration row on


def test_calibration_rows_are_added_up(capsys):
    with training_progress(enabled=True) as bars:
        bars.on_calibrated(100)
        bars.on_calibrated(20)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "calibrating" in line]
    assert "120/?" in line
    assert "rows scored" in line


def test_the_bar_is_closed_after_an_error(capsys):
    """A bar that is left open hides the cursor of the terminal."""
    with pytest.raises(KeyboardInterrupt), training_progress(enabled=True):
        raise KeyboardInterrupt
    with training_progress(enabled=True) as bars:  # rich allows one display at a time
        bars.on_calibrated(1)
    assert "calibrating" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [29.0, 3600.0])
def test_elsewhere_than_on_a_terminal_a_long_training_prints_few_lines_and_a_short_one_none(capsys, seconds):
    now = 0.0
    with training_progress(enabled=True, terminal=False, clock=lambda: now) as bars:
        for step in range(1, 1001):
            now = step * seconds / 1000
            bars.report("model 1 of 2", Progress(step, 1000, 3.25, Evaluation(-2.5, 0.75, -1.75), -2.0))
        now += 300.0 if seconds > 30 else 0.0
        bars.on_calibrated(50)
        bars.on_calibrated(10)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    if seconds < 30:
        assert lines == []
        return
    assert lines[0] == (
        "model 1 of 2: step 9 of 1,000, loss 3.25  held-out ELBO -2.50 (best -2.00)  KL 0.75  log p(x|z) -1.75"
    )
    assert lines[-1] == "calibrating: 50 rows scored"
    assert 12 <= len(lines) <= 18  # a line for each quarter, and one every 5 minutes
