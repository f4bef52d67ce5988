"""``anomaly-vae inspect`` in a process of its own."""

from __future__ import annotations

import json

from anomaly_vae.scorer import load
from tests.support.command_line import cli


def test_inspect_shows_the_model_for_people_and_for_programs(folder):
    text = cli(folder, "inspect", "model").stdout
    for part in ("pressure", "constant", "threshold", "140 rows", "label column", "broken"):
        assert part in text
    assert "standard error 0.1 nats, at most 4,096 samples a row, 16 scramblings, thorough search below -" in text
    info = json.loads(cli(folder, "inspect", "model", "--json").stdout)
    assert info["bundle_digest"] == load(folder / "model").bundle.digest
    assert info["schema"]["label"] == "broken"
