"""``anomaly-vae demo`` of a table, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import time

from tests.support.command_line import cli, one_line, start, wait_for


def test_the_demo_runs_and_shows_what_it_promises(tmp_path):
    """Train, calibrate, export, load, score; the table, the figures, the picture, what to type next; no other file."""
    homes = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "temporary"}
    for folder in homes.values():
        folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR" and name[:4] != "XDG_"}
    done = cli(tmp_path, "demo", env=kept | {name: str(folder) for name, folder in homes.items()})
    assert done.returncode == 0, done.stderr
    assert [os.listdir(folder) for folder in homes.values()] == [[], []]
    files = {"train.csv", "held_out.csv", "model", "scores.csv", "scores_over_grpc.csv", "scores.png", "worst.csv"}
    assert set(os.listdir(tmp_path / "anomaly-vae-demo")) == files
    text = done.stdout
    for part in (
        "log p(x) ± error",
        "p-value",
        "expected",
        "AUROC",
        "average precision",
        "false-positive rate",
        "Next",
    ):
        assert part in text
    assert float(re.search(r"AUROC ([\d.]+)", text)[1]) > 0.9
    picture = (tmp_path / "anomaly-vae-demo" / "scores.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    one_line(cli(tmp_path, "demo"), 2, "anomaly-vae-demo exists already")


def test_an_interrupted_demo_says_so(tmp_path):
    process = start(tmp_path, "demo")
    wait_for(lambda: (tmp_path / "anomaly-vae-demo" / "held_out.csv").exists())
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
