"""The summary of a command, for people and for programs."""

from __future__ import annotations

import json

import pytest

from anomaly_vae.cli.summary import print_summary


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        ({"output": "x.csv"}, "", "x.csv: 3 rows\n"),
        ({"output": "-"}, "", "standard output: 3 rows\n"),
        ({}, "", "3 rows\n"),
        ({"output": "x.csv", "quiet": True}, "", ""),
        ({"output": "x.csv", "as_json": True}, '{"output": "x.csv", "rows": 3, "name": "Ørsted"}\n', ""),
        ({"output": "x.csv", "as_json": True, "quiet": True}, '{"output": "x.csv", "rows": 3, "name": "Ørsted"}\n', ""),
        ({"output": "-", "as_json": True}, "", '{"output": "-", "rows": 3, "name": "Ørsted"}\n'),
        ({"as_json": True}, '{"rows": 3, "name": "Ørsted"}\n', ""),
    ],
)
def test_the_text_goes_to_standard_error_and_the_json_where_the_table_is_not(capsys, options, out, err):
    print_summary("3 rows", {"rows": 3, "name": "Ørsted"}, **{"as_json": False, "quiet": False} | options)
    assert capsys.readouterr() == (out, err)


def test_the_json_is_strict():
    """NaN is no JSON: other programs refuse it."""
    with pytest.raises(ValueError, match="JSON"):
        print_summary("", {"threshold": float("nan")}, as_json=True, quiet=False)


def test_the_json_is_one_line(capsys):
    print_summary("", {"text": "two\nlines", "more": {"a": [1, 2]}}, as_json=True, quiet=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"text": "two\nlines", "more": {"a": [1, 2]}}
