"""The progress bar writes to standard error, or nothing at all."""

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
