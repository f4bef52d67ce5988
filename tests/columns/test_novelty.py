"""Which new values put a row below all others, and warnings that name the columns, the counts and the remedy."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from anomaly_vae.calibration import calibrate, conformal_p_value, rank
from anomaly_vae.columns.novelty import (
    changed_constants_share,
    demote_frequent,
    frequent_novelties,
    new_categories_share,
    only_rare_categories,
    with_novelty_from_training,
)
from anomaly_vae.columns.schema import Column, Schema
from tests.support.schemas import infer_schema

SCHEMA = Schema(
    columns=(
        Column(name="a", kind="constant", value=0.0, other_share=0.1, novelty="lowest"),
        Column(name="b", kind="binary", other_share=0.1, novelty="lowest"),
        Column(name="c", kind="categorical", categories=tuple("xyz"), rare=(2,), other_share=0.1, novelty="density"),
        Column(name="d", kind="constant", value=0.0, other_share=0.1, novelty="lowest"),
        Column(name="e", kind="categorical", categories=tuple("xyz"), rare=(1, 2), novelty="density"),
        Column(name="f", kind="categorical", categories=tuple("xyz"), rare=(0, 1, 2), novelty="density"),
        Column(name="g", kind="categorical", categories=tuple("xy"), other_share=0.1, novelty="lowest"),
        Column(name="h", kind="categorical", categories=("x",), other_share=0.1, novelty="lowest"),
        Column(name="i", kind="continuous"),
    )
)


def novelties(schema):
    return {column.name: column.novelty for column in schema.columns}


def rows_with(n, **changes):
    """Return n rows of usual values; ``b=(2, 5.0)`` puts 5 in the first 2 rows of column b."""
    rows = np.zeros((n, len(SCHEMA.columns)))
    for name, (count, value) in changes.items():
        rows[:count, SCHEMA.names.index(name)] = value
    return rows


def sparse_rows(n, num_columns, seed, rate=0.002):
    """Return 0/1 columns: ten that vary and others with a 1 in few rows."""
    rng = np.random.default_rng(seed)
    shares = np.where(np.arange(num_columns) < 10, 0.3, rate)
    return (rng.random((n, num_columns)) < shares).astype(float)


def test_only_closed_columns_put_a_row_below_all_others():
    """A column with a level "other" expects new categories: there they only count by their probability."""
    for name, expected in {"a": True, "b": True, "c": False, "e": False, "g": True, "h": True}.items():
        rows = rows_with(2, **{name: (1, -1.0)})
        np.testing.assert_array_equal(SCHEMA.is_novel(rows), [True, False])
        np.testing.assert_array_equal(SCHEMA.ranks_lowest(rows), [expected, False])


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        ([0, 0, 1, 0], 2),
        ([1, 0, 0, 0], 0),
        ([0, 0, 0, 1], 3),
        ([0, 0, 1, 1], None),
        ([0, 0, 0, 0], None),
        ([0, 1, 2, 0], None),
        ([2, 0, 1, 1], None),
        ([np.nan, 1, np.nan, 0, 1], 3),
        ([np.nan, 1, 0], None),
        ([np.nan] * 4, None),
    ],
)
def test_a_row_counts_if_it_alone_keeps_a_column_from_being_constant(values, odd):
    rows = np.array(values, dtype=float)[:, None]
    assert changed_constants_share(rows) == (0.0 if odd is None else 1 / len(values))
    twice = np.column_stack([rows, rows])  # one row, two columns
    assert changed_constants_share(twice) == changed_constants_share(rows)


def test_the_share_of_training_rows_foretells_the_share_of_new_rows_that_change_a_constant():
    """Good-Turing: a row left out of n is as a new row to the other n - 1, so the mean shares differ by O(1/n)."""
    foretold, found = [], []
    for seed in range(40):
        rows = sparse_rows(900, 300, seed)
        schema = infer_schema(rows[:300], tuple(f"c{i}" for i in range(300)))
        foretold.append(changed_constants_share(rows[:300]))
        constant = np.array([column.value is not None for column in schema.columns])
        found.append(schema.novel_cells(rows[300:])[:, constant].any(axis=1).mean())
    error = np.std(np.subtract(foretold, found)) / np.sqrt(40)
    assert 0.1 < np.mean(found) < 0.5
    assert abs(np.mean(foretold) - np.mean(found)) < 4 * error


def test_constants_rank_lowest_if_training_rows_show_that_they_rarely_change():
    """The limit is a quarter of the target. Other columns keep their rule."""
    rows = np.zeros((1000, 9))
    rows[:2, 4] = 1.0
    rows[[5, 6], [0, 1]] = 1.0  # two rows of 1,000
    others = novelties(SCHEMA) | dict.fromkeys("cef", "lowest")
    for target, expected in ((0.0081, "lowest"), (0.0079, "density")):
        schema = with_novelty_from_training(SCHEMA, rows, target)
        assert novelties(schema) == others | dict.fromkeys("adh", expected)
    assert novelties(with_novelty_from_training(SCHEMA, np.zeros((9, 9)), 0.001)) == others


def test_columns_of_text_rank_new_categories_lowest_while_training_rows_show_that_they_are_rare():
    """Columns with the smallest shares come first: "g" has 0, "c" 2 of 1,000 rows, "e" 3 of 1,000."""
    rows = np.zeros((1000, 9))
    rows[[3, 4], 2] = 1.0, 2.0
    rows[5:8, 2] = 3.0
    rows[[5, 6, 7], 4] = 1.0, 2.0, 3.0
    rows[8:, 5] = np.arange(992)
    for target, lowest in ((0.0079, "g"), (0.0081, "cg"), (0.0199, "cg"), (0.0201, "ceg")):
        found = novelties(with_novelty_from_training(SCHEMA, rows, target))
        assert {name for name in "cefg" if found[name] == "lowest"} == set(lowest)


def test_categories_of_one_or_two_rows_foretell_new_ones():
    assert new_categories_share(np.array([0, 1, 1, 2, 3, 3, 3, np.nan])) == 3 / 8
    assert new_categories_share(np.full(4, np.nan)) == 0.0


def test_columns_are_demoted_one_after_the_other_in_an_order_that_training_gives():
    """Constants first, then the text with more categories; the other columns keep their rule, and are not named."""
    columns = [structs.replace(column, novelty="lowest") if column.novelty else column for column in SCHEMA.columns]
    columns[6] = structs.replace(columns[6], categories=tuple("uvwxyz"))
    columns[2] = structs.replace(columns[2], rare=())
    schema = Schema(columns=tuple(columns))
    rows = rows_with(100, a=(1, 1.0), b=(2, 5.0), c=(1, -1.0), g=(4, -1.0))
    found, warnings = demote_frequent(schema, rows, 3)
    assert {name for name, novelty in novelties(found).items() if novelty == "lowest"} == {"b", "c"}
    assert [("'g'" in text, "'c'" in text) for text in warnings] == [(False, False), (True, False)]


def test_columns_keep_their_rule_while_fewer_rows_than_the_rank_are_lowest():
    rows = rows_with(100, a=(4, 1.0), b=(3, 5.0), c=(50, -1.0), e=(60, -1.0))
    assert demote_frequent(SCHEMA, rows, 5) == (SCHEMA, [])


def test_constants_are_demoted_first_and_named_with_count_value_and_remedy():
    rows = rows_with(100, a=(5, 1.0), b=(4, 5.0), h=(2, -1.0))
    schema, (text,) = demote_frequent(SCHEMA, rows, 5)
    assert novelties(schema) == novelties(SCHEMA) | dict.fromkeys("adh", "density")
    assert schema.ranks_lowest(rows).sum() == 4
    assert text == (
        "5 of 100 calibration rows have another value in columns that were constant in training: column 'a' (5, such "
        "as 1 where training had 0), column 'h' (2, texts that training never had). They leave no flags for other "
        "rows: the threshold has rank 5. So such values no longer put a row below all others, and only count by their "
        "probability. Exclude the columns, merge their values, or train on more rows"
    )


def test_all_columns_are_demoted_if_the_constants_are_not_enough():
    rows = rows_with(100, b=(7, 5.0), g=(6, -1.0))
    schema, (text,) = demote_frequent(SCHEMA, rows, 5)
    assert novelties(schema) == dict.fromkeys("abcdefgh", "density") | {"i": None}
    assert text.startswith(
        "7 of 100 calibration rows have values that training never had in columns of text, 0/1 or counts: column 'b' "
        "(7, such as 5), column 'g' (6, texts that training never had). They leave"
    )
    assert len(demote_frequent(SCHEMA, rows_with(100, a=(7, 1.0), b=(7, 5.0)), 5)[1]) == 2


def test_the_false_positive_rate_is_below_the_bound_when_columns_are_demoted():
    """Rate at most alpha (1 + P(M = k)): here M is k or so in most sets, the worst case for the rule of demotion.

    Rows that rank lowest have the highest densities, so that a rank by density flags other rows.
    """
    rng = np.random.default_rng(0)
    schema = structs.replace(SCHEMA, columns=SCHEMA.columns[:1])
    n, alpha, share, runs = 60, 0.05, 0.05, 6000
    flagged = ties = 0
    for _ in range(runs):
        changed = (rng.random(n + 1) < share).astype(float)
        scores = rng.normal(size=n + 1) + 10.0 * changed
        k = 3
        found, _ = demote_frequent(schema, changed[:n, None], k)
        lowest = found.ranks_lowest(changed[:, None])
        record, kept = calibrate(scores[:n], lowest[:n], alpha)
        ranks = rank(kept, record.num_novel, np.where(lowest[n:], -np.inf, scores[n:]))
        flagged += int(conformal_p_value(ranks, n)[0] <= k / (n + 1))
        ties += int(changed.sum() == k)
    rate, bound = flagged / runs, k / (n + 1) * (1 + ties / runs)
    assert record.rank == k
    assert ties > 0.15 * runs
    assert k / (n + 1) < rate < bound + 4 * np.sqrt(bound / runs)


def test_columns_with_many_new_values_are_named_with_their_counts():
    """The warning comes if more than half of the lowest rows have such values. Learned levels do not count."""
    rows = np.zeros((20, 9))
    rows[:3, 0], rows[2:8, 1], rows[8, 2], rows[9, 3], rows[10:, 4:6] = 5.0, 5.0, 2.0, 1.0, -1.0
    assert frequent_novelties(SCHEMA, rows) == []
    (text,) = frequent_novelties(SCHEMA, rows[:19])
    assert text == (
        "10 of the 19 calibration rows with the lowest scores have a value that training had hardly or never: column "
        "'b' (6, such as 5), column 'a' (3, such as 5 where training had 0), column 'c' (1, such as 'z') and 1 more. "
        "Rows like these take most of the flags; exclude the columns, merge their rare values, or train on more rows"
    )


def test_columns_of_names_are_named_because_they_add_nothing():
    (text,) = only_rare_categories(SCHEMA)
    assert text.startswith("column 'f': each of its 3 categories is in fewer than 5 training rows")
    assert "merge categories, or exclude it" in text
