"""What is said of columns: false alarms as rare as promised, each kind of change found and described."""

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.assessment.shifts import NewRows, column_shifts, level_names
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.statistics import statistics_of

COLOURS = ("blue", "green", "red")
SCHEMA = Schema(
    columns=(
        Column(name="amount", kind="continuous"),
        Column(name="visits", kind="count", novelty="lowest"),
        Column(name="colour", kind="categorical", categories=COLOURS, other_share=0.01, novelty="lowest"),
        Column(name="on", kind="binary", novelty="lowest"),
        Column(name="unit", kind="constant", value=7.0, novelty="lowest"),
        Column(name="hour", kind="cyclic", period=24.0),
    )
)


def draw(n, seed):
    """Rows with missing cells, ties, and now and then a new category and another constant."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack(
        [
            rng.lognormal(1.0, 0.5, size=n),
            rng.poisson(1.0, size=n),
            rng.choice(4, size=n, p=[0.6, 0.3, 0.08, 0.02]),
            rng.random(n) < 0.03,
            np.where(rng.random(n) < 0.01, 8.0, 7.0),
            rng.normal(12.0, 3.0, size=n) % 24.0,
        ]
    ).astype(float)
    rows[rng.random(n) < 0.1, 0] = np.nan
    return rows


def compared(calibration, new, alpha=0.01):
    found = NewRows(SCHEMA, statistics_of(SCHEMA, calibration))
    for part in np.array_split(new, 3):
        found.add(part)
    return column_shifts(found.shifts(), alpha)


@pytest.mark.parametrize(("n", "m"), [(150, 150), (60, 1500)])
def test_false_alarms_of_all_columns_together_are_as_rare_as_promised(n, m):
    alarms = sum(compared(draw(n, 2 * s), draw(m, 2 * s + 1), 0.05)[0].changed for s in range(100))
    assert stats.binom.sf(alarms - 1, 100, 0.05) > 0.005


def set_to(column, values, share=1.0):
    def change(rows):
        rows = rows.copy()
        rows[: int(share * len(rows)), column] = values
        return rows

    return change


def times(column, factor):
    def change(rows):
        rows = rows.copy()
        rows[:, column] *= factor
        return rows

    return change


CHANGES = {
    "amount": {
        "half as much": (times(0, 0.5), lambda shift: 0.4 < shift.middle[1] / shift.middle[0] < 0.6),
        "thousand times": (times(0, 1000.0), lambda shift: shift.units == "x 1000" and shift.outside == 1.0),
        "missing": (set_to(0, np.nan, 0.3), lambda shift: shift.missing[1] > 0.3 > 0.2 > shift.missing[0]),
    },
    "visits": {"more": (times(1, 3.0), lambda shift: shift.high[1] > shift.high[0])},
    "colour": {
        "another share": (set_to(2, 2, 0.2), lambda shift: shift.level[0] == "'red'" and shift.level[2] > 0.2),
        "new category": (set_to(2, 5, 0.1), lambda shift: shift.new_values[1] > 0.1 > 0.05 > shift.new_values[0]),
    },
    "on": {"a few more ones": (set_to(3, 1.0, 0.1), lambda shift: shift.level[2] == shift.level[2])},
    "unit": {"another constant": (set_to(4, 9.0, 0.2), lambda shift: shift.new_values[1] >= 0.2)},
    "hour": {"at night": (set_to(5, 2.0, 0.3), lambda shift: shift.units is None)},
}
CASES = [(column, name) for column, changes in CHANGES.items() for name in changes]


@pytest.mark.parametrize(("column", "name"), CASES)
def test_a_changed_column_comes_first_and_is_described(column, name):
    change, is_described = CHANGES[column][name]
    first, *others = compared(draw(400, 1), change(draw(400, 2)))
    assert (first.column, first.changed) == (column, True)
    assert first.distance > 0.05
    assert is_described(first)
    assert not any(each.changed for each in others)


def test_p_values_are_adjusted_as_by_holm():
    found = NewRows(SCHEMA, statistics_of(SCHEMA, draw(100, 1)))
    found.add(draw(100, 2))
    before = found.shifts()
    p = {each.column: math.exp(each.log_p_value) for each in before}
    order = sorted(p, key=p.get)
    expected, highest = {}, 0.0
    for place, column in enumerate(order):
        highest = max(highest, min(p[column] * (len(order) - place), 1.0))
        expected[column] = highest
    after = {each.column: math.exp(each.log_p_adjusted) for each in column_shifts(before, 0.01)}
    assert after == pytest.approx(expected)


def test_beside_samples_of_a_model_there_are_no_p_values():
    """They differ from rows, so a test would always find that."""
    found = NewRows(SCHEMA, statistics_of(SCHEMA, draw(300, 1)))
    found.add(times(0, 2.0)(draw(300, 2)))
    first, *_ = shown = column_shifts(found.shifts(), 0.01, has_counts=False)
    assert first.column == "amount"
    assert all(each.log_p_value is None and each.log_p_adjusted is None and not each.changed for each in shown)


def test_the_rows_that_are_shown_are_a_bounded_random_sample(monkeypatch):
    monkeypatch.setattr("anomaly_vae.assessment.shifts._SAMPLE_ROWS", 50)
    rows = np.column_stack([np.arange(1000.0), *np.zeros((5, 1000))])
    found = NewRows(SCHEMA, statistics_of(SCHEMA, draw(10, 1)))
    for part in np.split(rows, 10):
        found.add(part)
    assert found._sample.shape == (50, 6)
    assert 300 < found._sample[:, 0].mean() < 700
    assert found.num_rows == 1000


def test_a_column_that_is_empty_on_either_side_is_compared_by_its_missing_cells():
    empty = set_to(0, np.nan)(draw(200, 1))
    for calibration, new in ((empty, draw(200, 2)), (draw(200, 2), empty)):
        first, *_ = compared(calibration, new)
        assert (first.column, first.middle) == ("amount", None)
        assert first.distance > 0.8


def test_levels_have_names():
    names = [level_names(SCHEMA.columns[d]) for d in (2, 3, 4)]
    assert names == [["'blue'", "'green'", "'red'", "new values"], ["0", "1", "new values"], ["7", "new values"]]
