"""What is said about a column reads as a sentence."""

from __future__ import annotations

from anomaly_vae.columns.findings import Finding


def test_a_finding_names_the_column_what_follows_and_the_remedy():
    finding = Finding("id", "row number", "numbers the rows: left out", True, "to train on it, name it in --columns")
    assert str(finding) == "column 'id' numbers the rows: left out; to train on it, name it in --columns"


def test_a_column_without_a_name_and_a_finding_without_a_remedy():
    assert str(Finding("", "index", "number 1 has no name: left out", True)) == "column number 1 has no name: left out"
