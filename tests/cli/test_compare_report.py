"""A comparison on the terminal: what it says, in lines of 80 characters."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.assessment import compare
from anomaly_vae.cli.compare_report import print_comparison
from anomaly_vae.cli.schema_differences import SchemaDifferences
from tests.support.assessed import judged_of, promise_for, why


def shown(capsys, a, b, differences=SchemaDifferences([], []), **options):  # noqa: B008 (a constant)
    judged = judged_of(a), judged_of(b)
    found = compare(judged, (promise_for(), promise_for()), np.arange(len(a)) + 1, **options)
    print_comparison(found, differences, ("old", "new"), "rows.csv")
    return capsys.readouterr().out


def test_it_says_what_changes(capsys, monkeypatch):
    monkeypatch.setattr("anomaly_vae.cli.report_tables._WIDTH", 80)
    out = shown(capsys, [0.01, 0.04, 0.5, *[0.6] * 97], [0.01, 0.9, 0.02, *[0.6] * 97], shown=1)
    text = " ".join(out.split())
    assert "A = old, B = new, on 100 rows of rows.csv" in text
    assert "2 decisions of 100 change: 2 % (0.24-7)" in text
    assert "and 1 more row; --top N shows more" in text
    assert "log p(x) of B minus that of A:" in text
    assert "no clear difference" in text
    assert "flags more than promised" not in text
    assert max(map(len, out.splitlines())) <= 80


def test_more_flags_than_promised_have_a_reason(capsys):
    text = " ".join(shown(capsys, [0.01] * 60 + [0.5] * 40, [0.5] * 100).split())
    assert "A flags more than promised" in text
    assert "B flags more" not in text
    assert "some of these rows are anomalies, or normal rows have changed" in text


def test_other_columns_are_said_and_columns_explain_changes(capsys):
    def explain(rows):
        items = [
            why("c[red]", 3.0, "x"),
            why("d", 0.0, 1.5),
        ]
        return [items] * len(rows), [items[1:]] * len(rows)

    differences = SchemaDifferences(["only A uses 'c'"], ["column 'd': only B knows 'z'"])
    text = " ".join(
        shown(capsys, [0.01] * 9, [0.5] * 9, differences, no_fit="only A uses 'c'", explain=explain).split()
    )
    assert "Columns: only A uses 'c'." in text
    assert "Columns: column 'd': only B knows 'z'." in text
    assert "1 c[red] x 2 to 4 (+3.0) does not use it d 1.5 2 to 4 (+0.0) 2 to 4 (+0.0) 2 c[red]" in text
    assert "because of the columns that differ" in text
    assert "is not defined" in text


def test_images_are_shown_by_name(capsys):
    names = [f"photos/{'x' * 20}{i}.png" for i in range(9)]
    out = shown(capsys, [0.01] * 9, [0.5] * 9, names=names)
    assert "row image flagged by" in " ".join(out.split())
    assert "photos/xxxxxxxxxxxx…" in out


def test_the_better_fit_is_named(capsys):
    rng = np.random.default_rng(0)
    a, b = (judged_of([0.5] * 50, score=rng.normal(mean, 0.1, 50)) for mean in (0.0, 1.0))
    for judged, name in (((a, b), "B"), ((b, a), "A")):
        print_comparison(
            compare(judged, (promise_for(), promise_for()), np.arange(50)), SchemaDifferences([], []), ("a", "b"), "r"
        )
        assert f"these rows are more likely for {name}." in " ".join(capsys.readouterr().out.split())


def test_models_that_differ_in_their_calibration_alone_are_not_explained(capsys):
    items = [why("c", 3.0, 1.5)]
    out = shown(capsys, [0.01] * 9, [0.5] * 9, explain=lambda rows: ([items] * len(rows), [items] * len(rows)))
    assert "only their calibration differs" in out
    assert "Why:" not in out


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("a", -6.82863e-08, "-6.83e-08"),
        ("a", 6.42221e18, "6.42e+18"),
        ("a", -0.0, "0"),
        ("a", "x" * 20, "x" * 9 + "…"),
        ("a", None, "new"),
        ("t.time_of_day", 3.25, "03:15"),
    ],
)
def test_values_keep_their_size_in_a_narrow_column(capsys, name, value, text):
    def explain(rows):
        return [[why(name, 3.0, value)]] * len(rows), [[why(name, 0.0, value)]] * len(rows)

    out = shown(capsys, [0.01] * 9, [0.5] * 9, explain=explain)
    assert f"1 {name} {text} " in " ".join(out.split())
