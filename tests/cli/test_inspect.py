"""``anomaly-vae inspect`` in a process of its own."""

from __future__ import annotations

import json
import shutil

import pytest

from anomaly_vae.cli.inspect import _new_values, _values
from anomaly_vae.columns.schema import Column
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


@pytest.mark.parametrize(
    ("column", "values", "new_values"),
    [
        (Column(name="a", kind="continuous", step=0.5), "steps of 0.5", ""),
        (Column(name="a", kind="cyclic", period=24.0), "period 24", ""),
        (Column(name="a", kind="cyclic", period=7.0, step=1.0), "period 7, steps of 1", ""),
        (Column(name="a", kind="constant", value=7.0, novelty="lowest"), "always 7", "rank lowest"),
        (Column(name="a", kind="constant", value=7.0), "always 7", "rank lowest"),
        (Column(name="a", kind="constant", value=7.0, novelty="density"), "always 7", "by probability"),
        (Column(name="a", kind="categorical", categories=("x", "y"), novelty="lowest"), "x, y", "rank lowest"),
        (
            Column(name="a", kind="categorical", categories=tuple("abcdefg"), rare=(1, 2), novelty="density"),
            "a, b, c, d, e and 2 more (2 rare)",
            "as rare ones",
        ),
        (
            Column(name="a", kind="categorical", categories=("x", "y"), rare=(1,), other_share=0.1, novelty="density"),
            "x, y (1 rare)",
            "by probability",
        ),
    ],
)
def test_a_column_shows_its_rare_categories_and_what_new_values_do(column, values, new_values):
    assert (_values(column), _new_values(column)) == (values, new_values)


def test_a_quiet_look_is_a_check_of_the_model(folder, tmp_path):
    done = cli(folder, "inspect", "model", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "noise.npy").write_bytes(b"")
    one_line(cli(tmp_path, "inspect", "model", "-q"), 3, "noise.npy")
    json.loads(cli(folder, "inspect", "model", "-q", "--json").stdout)
