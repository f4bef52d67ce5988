"""``anomaly-vae profile``: what a table holds, on the terminal, as a page and as JSON; its configuration."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from anomaly_vae.cli import cli
from anomaly_vae.errors import ConfigError, InvalidInput


def run(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng, n = np.random.default_rng(0), 300
    frame = pd.DataFrame(
        {
            "id": range(n),
            "when": pd.date_range("2024-01-01", periods=n, freq="7h"),
            "price": rng.normal(size=n).round(3),
            "paid": [f"${x:,.2f}" for x in rng.lognormal(8, 1, n)],
            "city": rng.choice(["Oslo", "<b>Bern</b>"], n),
            "mixed": ["unknown" if i % 10 == 0 else str(i % 7) for i in range(n)],
            "always": 3,
            "note": [f"n{i}" for i in range(n)],
            "broken": 0,
        }
    )
    path = tmp_path_factory.mktemp("profile") / "table.csv"
    frame.to_csv(path, index=False)
    return path


def test_every_column_is_shown_with_what_follows(path):
    done = run("profile", path)
    assert done.exit_code == 0, done.output
    for text in ("300 rows, 9 columns, 7 of them used", "numbers the rows", "time of day", "'$", "categorical", "10 %"):
        assert text in " ".join(done.stdout.split()), text
    assert "█" in done.stdout
    assert '[columns]\nid = "exclude"' in done.stdout


def test_json_has_the_facts(path):
    facts = json.loads(run("profile", path, "--json").stdout)
    assert facts["rows"] == 300
    columns = {each["name"]: each for each in facts["columns"]}
    assert list(columns) == ["id", "when", "price", "paid", "city", "mixed", "always", "note", "broken"]
    assert {name: each["kind"] for name, each in columns.items() if name != "when"} == {
        "id": "left out",
        "price": "continuous",
        "paid": "continuous",
        "city": "categorical",
        "mixed": "integer",
        "always": "constant",
        "note": "left out",
        "broken": "constant",
    }
    assert columns["mixed"]["missing"] == pytest.approx(0.1)
    assert columns["mixed"]["distinct"] == 7
    assert sum(columns["price"]["histogram"]) == 300
    assert tomllib.loads(facts["toml"])["columns"]["note"] == "exclude"


def test_the_page_is_one_file_and_escapes_the_table(path, tmp_path):
    done = run("profile", path, "--html", tmp_path / "p.html", "--toml", tmp_path / "p.toml")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "&lt;b&gt;Bern" in page
    assert "<b>Bern" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert tomllib.loads((tmp_path / "p.toml").read_text())["columns"]["city"] == "categorical"


def test_a_label_and_chosen_columns_are_as_in_train(path):
    facts = json.loads(run("profile", path, "--json", "--label", "broken", "--columns", "price,city").stdout)
    kinds = {each["name"]: each["kind"] for each in facts["columns"]}
    assert kinds == {
        name: "continuous" if name == "price" else "categorical" if name == "city" else "left out"
        for name in ("id", "when", "price", "paid", "city", "mixed", "always", "note")
    }


def test_outputs_that_exist_and_inputs_that_do_not_are_refused(path, tmp_path):
    (tmp_path / "p.html").write_text("theirs")
    assert isinstance(run("profile", path, "--html", tmp_path / "p.html").exception, ConfigError)
    assert (tmp_path / "p.html").read_text() == "theirs"
    assert isinstance(run("profile", tmp_path / "none.csv").exception, InvalidInput)


def test_its_configuration_trains_the_same_model_as_none(path, tmp_path):
    """Only the manifest differs: it tells the configuration."""
    assert run("profile", path, "--toml", tmp_path / "found.toml", "-q").exit_code == 0
    options = ["--search", "off", "--max-steps", "40", "--force", "-q", "--target-fpr", "0.1"]
    assert run("train", path, "-o", tmp_path / "plain", *options).exit_code == 0
    config = ["--config", tmp_path / "found.toml"]
    assert run("train", path, "-o", tmp_path / "configured", *options, *config).exit_code == 0
    for file in sorted((tmp_path / "plain").iterdir()):
        if not file.name.startswith("manifest"):
            assert file.read_bytes() == (tmp_path / "configured" / file.name).read_bytes(), file.name
