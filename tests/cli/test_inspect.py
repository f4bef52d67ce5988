"""``anomaly-vae inspect`` in a process of its own."""

from __future__ import annotations

import json
import shutil

from anomaly_vae.scorer import load
from tests.support.command_line import cli, one_line


def test_inspect_shows_the_model_for_people_and_for_programs(folder):
    text = cli(folder, "inspect", "model").stdout
    for part in (
        "pressure",
        "constant",
        "threshold",
        "140 rows",
        "label column",
        "broken",
        "new values",
        "rank lowest",
    ):
        assert part in text
    assert "upper threshold" not in text
    assert "standard error 0.1 nats, at most 4,096 samples a row, 16 scramblings, thorough search below -" in text
    info = json.loads(cli(folder, "inspect", "model", "--json").stdout)
    assert info["bundle_digest"] == load(folder / "model").bundle.digest
    assert info["schema"]["label"] == "broken"


def test_a_quiet_look_is_a_check_of_the_model(folder, tmp_path):
    done = cli(folder, "inspect", "model", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "noise.npy").write_bytes(b"")
    one_line(cli(tmp_path, "inspect", "model", "-q"), 3, "noise.npy")
    json.loads(cli(folder, "inspect", "model", "-q", "--json").stdout)
