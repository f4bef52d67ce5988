"""What ``anomaly-vae drift`` found, as text and as plain values."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anomaly_vae.cli.reporting import printable
from anomaly_vae.explained import clock, is_time_of_day

if TYPE_CHECKING:
    from rich.table import Table

    from anomaly_vae.assessment.drift import Drift
    from anomaly_vae.assessment.shifts import ColumnShift
    from anomaly_vae.assessment.uniformity import ScoreShift
    from anomaly_vae.batch import ScoreSummary

__all__ = ["described", "facts_of", "print_drift"]

# Columns that are listed, at most, and those of a comparison without p-values. Chosen, not measured.
_MOST_COLUMNS, _MOST_UNTESTED = 20, 5

# Differences between shares that are worth a word. Chosen, not measured.
_LEAST_SHARE = 0.005

_WIDTH = 80

# The smallest p-value that is printed as a number: that of a double is not much smaller.
_LEAST_P = 1e-300

_HIGHER = (
    "\nThe {unit}s score higher than the calibration {unit}s. Those of the training do, too:\n"
    "compare {unit}s that the model was not trained on."
)


def facts_of(drift: Drift, summary: ScoreSummary) -> dict[str, Any]:
    """Return the comparison as plain values, for programs. p-values of parts are without the factor of their number."""
    return {
        "drift": drift.drifted,
        "p_value": math.exp(drift.log_p_value),
        "alpha": drift.alpha,
        "rows": summary.rows,
        "scored": drift.num_rows,
        "calibration_rows": drift.num_calibration,
        "parts": drift.num_parts,
        "scores": _score_facts(drift.scores),
        "contrast": None if drift.contrast is None else _score_facts(drift.contrast),
        "order": {
            "p_value": math.exp(drift.order.log_p_value),
            "log_martingale": drift.order.log_martingale,
            "noticed_at": drift.order.first_row,
        },
        "columns_compared_with": drift.reference,
        "columns": [_column_facts(each) for each in drift.columns],
        "unscored": dict(summary.unscored),
        "examples": dict(summary.examples),
    }


def print_drift(drift: Drift, summary: ScoreSummary, model: str, input_: str, unit: str = "row") -> None:
    """Print the verdict, the tests and the columns that have changed, on standard output; ``unit`` names a row."""
    import click
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    left_out = summary.unscored.total()
    click.echo(
        f"{printable(input_)}: {drift.num_rows:,} {unit}s compared with {drift.num_calibration:,} calibration {unit}s "
        f"of {printable(model)}"
        + (f"; {left_out:,} {unit}{'' if left_out == 1 else 's'} cannot be read" if left_out else "")
    )
    found = f"DRIFT: the {unit}s are not like the calibration {unit}s"
    word = found if drift.drifted else "No drift was found"
    p = _probability(drift.log_p_value)
    click.echo(f"{word} (p {p if p.startswith('<') else f'= {p}'}; drift means at most {drift.alpha:g})\n")
    console.print(_tests(drift, unit))
    if _is_significant(drift.scores, drift) and drift.scores.strongest.found < drift.scores.strongest.expected:
        click.echo(_HIGHER.format(unit=unit))
    for table in _columns(drift):
        click.echo()
        console.print(table)
    if (unchanged := _unchanged(drift)) is not None:
        click.echo(unchanged)


def described(shift: ColumnShift) -> str:
    """Return what has changed in a column, in words; the most important first."""
    texts = []
    if shift.units is not None:
        texts.append(f"looks like a change of units: {shift.units}")
    if shift.middle is not None and shift.low is not None and shift.high is not None:
        shown = clock if is_time_of_day(shift.column) else "{:.4g}".format
        with_ratio = shift.units is None and shift.kind != "cyclic"  # a circle has no zero
        texts.append(_numbers(shift.low, shift.middle, shift.high, shown=shown, with_ratio=with_ratio))
    if shift.level is not None and not (shift.level[0] == "new values" and shift.new_values[1] > 0.0):
        name, was, now = shift.level
        texts.append(f"{printable(name)} in {_percent(now)} of the rows, was {_percent(was)}")
    for what, (was, now) in (("new values", shift.new_values), ("missing", shift.missing)):
        if abs(now - was) > _LEAST_SHARE:
            texts.append(f"{what} in {_percent(now)}, was {_percent(was)}")
    if shift.outside > _LEAST_SHARE:
        texts.append(f"{_percent(shift.outside)} outside the range of the calibration rows")
    return "; ".join(texts) or "too few rows to say more"


def _numbers(
    low: tuple[float, float],
    middle: tuple[float, float],
    high: tuple[float, float],
    *,
    shown: Callable[[float], str],
    with_ratio: bool,
) -> str:
    """Return the change of the median, or of the spread if the median has moved less."""
    was, now = middle
    moved, widened = abs(now - was), max(abs(low[1] - low[0]), abs(high[1] - high[0]))
    if widened > 2.0 * moved:
        return f"10 % to 90 %: {shown(low[1])} to {shown(high[1])}, was {shown(low[0])} to {shown(high[0])}"
    ratio = now / was if was != 0.0 else 0.0
    times = f": {ratio:.3g} times as much" if with_ratio and ratio > 0.0 and not 0.9 < ratio < 1.1 else ""
    return f"median {shown(now)}, was {shown(was)}{times}"


def _tests(drift: Drift, unit: str) -> Table:
    table = _table("test", "found", "p-value")
    table.columns[1].ratio = 1
    table.add_row("scores, all at once", _scores(drift.scores, drift), _p(drift.scores.log_p_value, drift))
    if drift.contrast is not None:
        table.add_row("contrasts, all at once", _scores(drift.contrast, drift), _p(drift.contrast.log_p_value, drift))
    row = drift.order.first_row
    noticed = "the bets against no change did not win" if row is None else f"a change was noticed at {unit} {row:,}"
    table.add_row("scores, in order", noticed, _p(drift.order.log_p_value, drift))
    if drift.columns and drift.columns[0].log_p_adjusted is not None:
        changed = sum(each.changed for each in drift.columns)
        log_p = min(each.log_p_adjusted or 0.0 for each in drift.columns)
        table.add_row("columns", f"{changed} of {len(drift.columns)} have changed", _p(log_p, drift))
    return table


def _scores(shift: ScoreShift, drift: Drift) -> str:
    test = shift.strongest
    if not _is_significant(shift, drift):
        return "no share of the scores is unusual"
    return f"{_percent(test.found)} score like the lowest {_percent(test.expected)} did before"


def _is_significant(shift: ScoreShift, drift: Drift) -> bool:
    return shift.log_p_value + math.log(drift.num_parts) <= math.log(drift.alpha)


def _columns(drift: Drift) -> list[Table]:
    """Return the table of the columns that have changed; without p-values, of those that differ most."""
    from rich.markup import escape

    if drift.reference != "calibration rows":
        shown = list(drift.columns[:_MOST_UNTESTED])
        title = "beside samples of the model, which differ a little from rows: no p-values"
    else:
        shown, title = [each for each in drift.columns if each.changed][:_MOST_COLUMNS], "what has changed"
    if not shown:
        return []
    table = _table("column", title, "p-value")
    table.columns[1].ratio = 1
    for each in shown:
        p = "" if each.log_p_adjusted is None else _p(each.log_p_adjusted, drift)
        table.add_row(escape(printable(each.column)), escape(described(each)), p)
    return [table]


def _unchanged(drift: Drift) -> str | None:
    changed = sum(each.changed for each in drift.columns)
    if drift.reference != "calibration rows" or not changed:
        return None
    further = changed - _MOST_COLUMNS
    more = f"{further} further columns have changed; " if further > 0 else ""
    unchanged = len(drift.columns) - changed
    return f"{more}no change was found in {unchanged} other column{'' if unchanged == 1 else 's'}"


def _score_facts(shift: ScoreShift) -> dict[str, float]:
    test = shift.strongest
    return {
        "p_value": math.exp(shift.log_p_value),
        "expected_below": test.expected,
        "found_below": test.found,
        "lower_share": shift.lower_share,
    }


def _column_facts(shift: ColumnShift) -> dict[str, Any]:
    facts = dict(vars(shift))
    for name in ("p_value", "p_adjusted"):
        log_p = facts.pop(f"log_{name}")
        facts[name] = None if log_p is None else math.exp(log_p)
    return {**facts, "text": described(shift)}


def _p(log_p: float, drift: Drift) -> str:
    """Return a p-value times the number of parts, so that it can be compared with alpha."""
    return _probability(min(log_p + math.log(drift.num_parts), 0.0))


def _probability(log_p: float) -> str:
    """Return a probability as a text, which is never 0."""
    return f"{math.exp(log_p):.2g}" if log_p >= math.log(_LEAST_P) else f"< {_LEAST_P:g}"


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"


def _table(*names: str) -> Table:
    from rich.table import Table

    table = Table(*names, box=None, header_style="bold", padding=(0, 2, 0, 0), expand=True)
    table.columns[-1].no_wrap = table.columns[0].no_wrap = True
    return table
