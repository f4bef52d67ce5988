"""``anomaly-vae inspect`` in a process of its own."""

from __future__ import annotations

import json

from anomaly_vae.scorer import load
from tests.support.command_line import cli


def test_inspect_shows_the_model_for_people_and_for_programs(folder):
    text = cli(folder, "inspect", "model").stdout
    for part in ("pressure", "constant", "threshold", "140 rows", "label column", "broken", "16 scramblings"):
        assert part in text
    info = json.loads(cli(folder, "inspect", "model", "--json").stdout)
    assert info["bundle_digest"] == load(folder / "model").bundle.digest
    assert info["schema"]["label"] == "broken"
