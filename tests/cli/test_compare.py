"""``anomaly-vae compare``: a model beside a copy of it with another threshold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anomaly_vae.bundle.files import with_calibration, write_bundle
from tests.support.command_line import cli, in_process, one_line, write_csv
from tests.support.data import make_rows


@pytest.fixture(scope="module")
def rows():
    odd = make_rows(40, seed=8)
    odd[:, 1] += np.linspace(0.0, 0.02, 40)
    return np.concatenate([make_rows(200, seed=7), odd])


@pytest.fixture(scope="module")
def paths(scorer, model_path, rows, tmp_path_factory):
    """Model A, model B and the rows; B is calibrated with half of the odd rows, so it flags fewer of them."""
    folder = tmp_path_factory.mktemp("compare")
    write_csv(folder / "rows.csv", rows)
    other = scorer.calibration_of(rows[100:220], 0.05)
    bundle = with_calibration(scorer.bundle, other.calibration, other.scores, "", other.schema)
    write_bundle(bundle, folder / "other")
    return model_path, folder / "other", folder / "rows.csv"


def test_the_decisions_are_those_of_the_scores(paths, scorer, rows):
    done = in_process("compare", *paths, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    flags = scorer.score(rows).is_anomaly
    assert facts["rows"] == 240
    assert facts["agreement"]["both"] + facts["agreement"]["only_a"] == flags.sum()
    assert facts["agreement"]["only_b"] == 0 < facts["agreement"]["only_a"]
    assert {each["flagged_by"] for each in facts["changed_rows"]} == {"A"}
    changed = facts["changed_rows"][0]
    assert changed["p_value_a"] == scorer.score(rows[[changed["row"] - 1]]).p_value[0]
    assert len(changed["why"]) == 3
    assert {each["excess_a"] - each["excess_b"] for each in changed["why"]} == {0.0}  # the networks are the same
    assert (facts["fit"]["mean"], facts["column_differences"]) == (0.0, [])


def test_too_many_changes_have_an_exit_code(paths):
    done = in_process("compare", *paths, "--max-flag-change", 0.5)
    assert done.returncode == 0, done.stderr
    assert "Decisions: which rows are flagged?" in done.stdout
    done = in_process("compare", *paths, "--max-flag-change", 0.0, "--quiet")
    one_line(done, 5, "rows are decided differently: 0.", "--max-flag-change is 0")
    assert done.stdout == ""
    assert in_process("compare", paths[0], *paths[::2], "--max-flag-change", 0, "--quiet").returncode == 0


def test_wrong_arguments_say_what_to_do(paths, tmp_path):
    one_line(in_process("compare", paths[0], paths[2], paths[1]), 2, "is a model; expected a table")
    one_line(in_process("compare", paths[0], *paths[2:] * 2), 2, "is a table", "compare MODEL_A MODEL_B INPUT")
    one_line(in_process("compare", *paths[:2], "-"), 2, "standard input can be read once")
    write_csv(tmp_path / "few.csv", make_rows(3)[:, :3], names=("pressure", "flow", "valve"))
    one_line(cli(tmp_path, "compare", *paths[:2], "few.csv"), 2, "temperature", "unit")
