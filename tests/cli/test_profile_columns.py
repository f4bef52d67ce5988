"""The facts of a profile against numpy, and its configuration as TOML."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.cli.profile_columns import ColumnProfile, profile_columns, toml_of
from anomaly_vae.columns.rows import to_training_table
from anomaly_vae.training.config import TrainConfig


def profile(frame, **options):
    config = TrainConfig(**options)
    return {each.name: each for each in profile_columns(to_training_table(frame, config.columns), config)}


def test_counts_ranges_and_histograms_are_numpys():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(500) < 0.2, np.nan, rng.normal(size=500))
    found = profile(pd.DataFrame({"x": x, "y": rng.integers(0, 3, 500)}))
    known = x[~np.isnan(x)]
    assert found["x"].missing == pytest.approx(np.isnan(x).mean())
    assert found["x"].distinct == len(np.unique(known))
    assert found["x"].values == f"{known.min():.6g} to {known.max():.6g}"
    assert list(found["x"].histogram) == np.histogram(known, bins=16)[0].tolist()
    assert len(found["y"].histogram) == 3, "one bar for each value"


def test_categories_are_listed_by_frequency():
    found = profile(pd.DataFrame({"city": ["b"] * 30 + ["a"] * 20 + ["c"] * 10, "x": np.arange(60) % 7}))
    assert found["city"].values == "b (30), a (20), c (10)"
    assert found["city"].histogram == (30, 20, 10)


def test_times_show_their_range_as_dates():
    found = profile(pd.DataFrame({"when": pd.date_range("2024-01-01", periods=90, freq="8h"), "x": np.arange(90) % 7}))
    assert found["when"].values == "2024-01-01 to 2024-01-30 16:00:00"
    assert found["when"].setting == ("time_of_day", "day_of_week")


def test_a_column_that_the_user_excluded_is_left_out_without_a_word_about_it():
    found = profile(pd.DataFrame({"x": np.arange(60) % 7, "y": np.arange(60) % 5}), columns={"y": "exclude"})
    assert found["y"].kind == "left out"
    assert found["y"].setting == "exclude"


def test_few_rows_are_enough():
    assert profile(pd.DataFrame({"x": [1.5, 2.5]}))["x"].distinct == 2


@given(st.lists(st.text(), unique=True, max_size=5))
def test_every_name_gives_a_configuration_that_toml_reads(names):
    """Names of columns are the user's: quotes, control characters, anything."""
    profiles = [ColumnProfile(name=name, kind="integer", text=name, setting="integer") for name in names]
    profiles += [ColumnProfile(name=f"{name}!", kind="left out", text=name, setting="exclude") for name in names]
    profiles += [ColumnProfile(name=f"{name}?", kind="constant", text=name) for name in names]
    text = toml_of(profiles, TrainConfig(missing_values=("n.d.", 9999)), "a\nb.csv")
    found = tomllib.loads(text)
    assert found["missing_values"] == ["n.d.", "9999"]
    expected = dict.fromkeys(names, "integer") | {f"{name}!": "exclude" for name in names}
    assert found["columns"] == expected
