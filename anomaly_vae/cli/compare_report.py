"""A comparison of two models on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_vae.assessment.promise import rate
from anomaly_vae.cli.report_tables import console, counted, heading, note, share, shortened, table
from anomaly_vae.explained import clock, is_time_of_day

if TYPE_CHECKING:
    from rich.console import Console

    from anomaly_vae.assessment.blame import ColumnDifference
    from anomaly_vae.assessment.comparison import ChangedRow, Comparison, ModelOnRows
    from anomaly_vae.cli.schema_differences import SchemaDifferences

__all__ = ["print_comparison"]

# Probability of the p-values below which they are called unlike those of normal rows. Chosen, not measured.
_LEAST_CHANCE = 0.01

# Standard errors from which on one model fits better than the other. Chosen: errs in 1 of 20 comparisons of equals.
_CLEAR = 1.96

# Columns that are named for a row, and characters of their names, values and of what was expected, which is wrapped.
_NAMED = 2
_IMAGE_WIDTH = 20
_NAME_WIDTH, _VALUE_WIDTH, _EXPECTED_WIDTH = 14, 10, 40

# Nats by which two models must differ in a column to be shown as different: what is shown has one decimal.
_LEAST_NATS = 0.05


def print_comparison(
    comparison: Comparison, differences: SchemaDifferences, models: tuple[str, str], input_: str
) -> None:
    """Print all parts of a comparison on standard output."""
    to = console()
    note(to, f"A = {models[0]}, B = {models[1]}, on {counted(comparison.rows, 'row')} of {input_}", "bold")
    note(to, f"Intervals hold the true figure with a probability of {rate(comparison.confidence)}.", "dim")
    for text in (*differences.columns, *differences.categories):
        note(to, f"Columns: {text}.", "yellow")
    _decisions(to, comparison)
    if comparison.changed_rows:
        _changed_rows(to, comparison)
    heading(to, "Order: are rows ordered alike?")
    note(
        to,
        f"Rank correlation (Spearman) of the rows by anomaly {_correlation(comparison.spearman_order)}, of the "
        f"p-values {_correlation(comparison.spearman_p_value)}. 1 is the same order, 0 is none.",
    )
    _calibration(to, comparison)
    heading(to, "Fit: for which model are the rows more likely?")
    note(to, _fit(comparison))


def _decisions(to: Console, comparison: Comparison) -> None:
    heading(to, "Decisions: which rows are flagged?")
    flags = comparison.agreement
    rows = [
        ["A flags", f"{flags.both:,}", f"{flags.only_a:,}"],
        ["A does not", f"{flags.only_b:,}", f"{flags.neither:,}"],
    ]
    to.print(table(["", "B flags", "B does not"], rows))
    kappa = "not defined" if flags.kappa is None else f"{flags.kappa:.3f}"
    note(
        to,
        f"{counted(flags.changed.count, 'decision')} of {flags.changed.total:,} change: {share(flags.changed)}. "
        f"Cohen's kappa {kappa}: 1 for equal flags, 0 if they agree as often as by chance.",
    )


def _changed_rows(to: Console, comparison: Comparison) -> None:
    heading(to, "Rows with another decision, the largest change of the p-value first")
    shown = comparison.changed_rows
    names = [] if shown[0].name is None else ["image"]
    columns = ["row", *names, "flagged by", "p-value: A", "B", "score: A", "B"]
    to.print(table(columns, [_changed_row(each) for each in shown], left=0))
    left = comparison.agreement.changed.count - len(shown)
    if left > 0:
        note(to, f"and {counted(left, 'more row')}; --top N shows more", "dim")
    why = [column for each in shown for column in each.why[:_NAMED]]
    if why and not any(map(_differ, why)):
        note(to, "Both models see the columns of these rows alike: only their calibration differs.")
    elif why:
        heading(to, "Why: the columns of these rows that the models see most differently")
        reasons = [row for each in shown for row in _reasons(each)]
        to.print(table(["row", "column", "value", "A expected", "B expected"], reasons, left=5))
        note(to, "In brackets: nats above the usual surprise of such a cell, given the rest of the row.", "dim")


def _changed_row(each: ChangedRow) -> list[str]:
    numbers = [f"{value:.3g}" for value in (each.p_value_a, each.p_value_b)]
    scores = [f"{value:.5g}" for value in (each.score_a, each.score_b)]
    name = [] if each.name is None else [shortened(each.name, _IMAGE_WIDTH)]
    return [f"{each.row:,}", *name, each.flagged_by, *numbers, *scores]


def _reasons(each: ChangedRow) -> list[list[str]]:
    """Return the columns that differ most, one row of the table for each; the first one has the number of the row."""
    return [
        [
            "" if i else f"{each.row:,}",
            shortened(column.column, _NAME_WIDTH),
            _value(column),
            _expected(column.expected_a, column.excess_a),
            _expected(column.expected_b, column.excess_b),
        ]
        for i, column in enumerate(each.why[:_NAMED])
    ]


def _differ(column: ColumnDifference) -> bool:
    """Return whether the models see a cell differently."""
    if column.excess_a is None or column.excess_b is None or column.expected_a != column.expected_b:
        return True
    return abs(column.excess_a - column.excess_b) > _LEAST_NATS


def _value(column: ColumnDifference) -> str:
    """Return the value of a cell; numbers keep their size."""
    value = column.value
    if value is None:
        return "new"
    if isinstance(value, str):
        return shortened(value, _VALUE_WIDTH)
    if is_time_of_day(column.column):
        return clock(value)
    text = f"{value + 0.0:.6g}"  # + 0.0: no "-0"
    return text if len(text) <= _VALUE_WIDTH else f"{value:.3g}"


def _expected(expected: str | None, excess: float | None) -> str:
    if expected is None or excess is None:
        return "does not use it"
    return f"{shortened(expected, _EXPECTED_WIDTH)} ({excess:+.1f})"


def _calibration(to: Console, comparison: Comparison) -> None:
    heading(to, "Calibration: is each promise kept, if these rows are normal?")
    pairs = (("A", comparison.a), ("B", comparison.b))
    rows = [[name, rate(each.promise.limit), share(each.flagged), _spread(each)] for name, each in pairs]
    to.print(table(["", "promised", "flagged", "p-values"], rows))
    for name, each in pairs:
        if each.above_promise:
            note(to, f"{name} flags more than promised; as many of normal rows have a chance of {each.chance:.1g}.")
    if comparison.a.above_promise or comparison.b.above_promise:
        note(to, "Then some of these rows are anomalies, or normal rows have changed since the calibration.", "dim")


def _spread(each: ModelOnRows) -> str:
    found = each.spread
    like = "like" if found.chance >= _LEAST_CHANCE else "unlike"
    return f"{like} normal rows (distance {found.distance:.2g}, chance {found.chance:.2g})"


def _correlation(value: float | None) -> str:
    return "is not defined" if value is None else f"{value:.4f}"


def _fit(comparison: Comparison) -> str:
    fit = comparison.fit
    if comparison.no_fit is not None:
        return "log p(x) cannot be compared, because of the columns that differ."
    if fit is None:
        return "log p(x) cannot be compared, because every row has values that are new to a model."
    error = 0.0 if fit.std_error is None else fit.std_error
    if fit.std_error is None or abs(fit.mean) <= _CLEAR * error:
        outcome = "no clear difference"
    else:
        outcome = f"these rows are more likely for {'B' if fit.mean > 0 else 'A'}"
    shown = "unknown" if fit.std_error is None else f"{error:.2g}"
    return (
        f"log p(x) of B minus that of A: {fit.mean:+.4g} nats a row on average, standard error {shown}, over "
        f"{counted(fit.rows, 'row')}: {outcome}."
    )
