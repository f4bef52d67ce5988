"""``anomaly-vae encode``: the means of q(z|x), row by row."""

from __future__ import annotations

import csv
import json

import numpy as np
from click.testing import CliRunner

from anomaly_vae.cli import cli
from anomaly_vae.errors import ConfigError
from tests.support.command_line import read_csv, write_csv
from tests.support.data import make_rows


def encode(*arguments):
    return CliRunner().invoke(cli, ["encode", *map(str, arguments)])


def test_the_output_is_the_encoding_of_each_row(model_path, scorer, tmp_path):
    """A row that cannot be read has empty cells, and keeps its kept columns."""
    write_csv(tmp_path / "in.csv", make_rows(8, seed=4), extra={"id": list("abcdefgh")})
    with (tmp_path / "in.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["high", 1, 1, 1, 7, "bad"])
    done = encode(model_path, tmp_path / "in.csv", "-o", tmp_path / "z.csv", "--keep", "id")
    assert done.exit_code == 0
    *rows, faulty = read_csv((tmp_path / "z.csv").read_text())
    means = scorer.encode(make_rows(8, seed=4))
    names = [f"z{i}" for i in range(means.shape[1])]
    assert list(faulty) == ["id", *names]
    np.testing.assert_array_equal([[float(row[name]) for name in names] for row in rows], means)
    assert list(faulty.values()) == ["bad", *[""] * len(names)]
    assert "z.csv: 9 rows, 1 not scored (1 unreadable" in done.stderr


def test_standard_output_and_quiet(model_path, tmp_path):
    write_csv(tmp_path / "in.csv", make_rows(2))
    done = encode(model_path, tmp_path / "in.csv", "-o", "-", "-q")
    assert len(read_csv(done.stdout)) == 2
    assert done.stderr == ""


def test_an_existing_output_is_refused_before_the_model_is_read(tmp_path):
    (tmp_path / "z.csv").write_text("theirs")
    done = encode("no model", "no input", "-o", tmp_path / "z.csv")
    assert isinstance(done.exception, ConfigError)
    assert "z.csv exists already" in str(done.exception)
    assert (tmp_path / "z.csv").read_text() == "theirs"


def test_the_summary_as_json(model_path, scorer, tmp_path):
    write_csv(tmp_path / "in.csv", make_rows(2))
    done = encode(model_path, tmp_path / "in.csv", "-o", tmp_path / "z.csv", "--json")
    facts = json.loads(done.stdout)
    assert facts.pop("seconds") > 0
    assert facts == {
        "output": str(tmp_path / "z.csv"),
        "rows": 2,
        "written": 2,
        "unscored": {},
        "examples": {},
        "bundle_digest": scorer.bundle.digest,
    }
    assert done.stderr == ""


def test_quiet_still_warns_of_rows_that_cannot_be_read(model_path, tmp_path):
    write_csv(tmp_path / "in.csv", make_rows(2))
    with (tmp_path / "in.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["high", 1, 1, 1, 7])
    done = encode(model_path, tmp_path / "in.csv", "-o", "-", "-q")
    assert done.stderr.startswith("anomaly-vae: warning: 3 rows, 1 not scored")
