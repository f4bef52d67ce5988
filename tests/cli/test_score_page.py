"""``score --report``."""

from __future__ import annotations

import re

import pytest

from tests.support.command_line import cli, one_line, read_csv


def score(folder, tmp_path, *more, output="o.csv"):
    return cli(folder, "score", folder / "model", folder / "new.csv", "-o", tmp_path / output, "-q", *more)


def test_the_page_shows_the_job(folder, tmp_path):
    page = tmp_path / "r.html"
    done = score(folder, tmp_path, "--keep", "id", "--report", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    rows = read_csv((tmp_path / "o.csv").read_text())
    worst = min(rows, key=lambda row: (float(row["p_value"]), float(row["score"])))
    assert "new.csv scored with" in text
    assert f"<b>{sum(row['is_anomaly'] in ('True', 'true', '1') for row in rows)}</b><span>flagged" in text
    first = re.search(r"<tbody>\s*<tr>(.*?)</tr>", text, re.DOTALL)[1]
    assert worst["id"] in first
    assert "--keep id" in text
    assert 'class="usual"' in text


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--fdr", "0.3"], "with --fdr 0.3"),
        (["--flag-only"], "computes none"),
        (["--num-samples", "16"], "give none"),
    ],
)
def test_other_rules_for_flags_have_their_words(folder, tmp_path, options, part):
    page = tmp_path / "r.html"
    done = score(folder, tmp_path, "--report", page, *options)
    assert done.returncode == 0, done.stderr
    assert part in page.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_refused_before_the_work(folder, tmp_path):
    page = tmp_path / "r.html"
    page.write_text("mine")
    one_line(score(folder, tmp_path, "--report", page), 2, "r.html exists already")
    one_line(score(folder, tmp_path, "--report", tmp_path / "r.txt"), 2, "ends in .html")
    assert page.read_text() == "mine"
    assert not (tmp_path / "o.csv").exists()
    assert score(folder, tmp_path, "--report", page, "--overwrite").returncode == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
