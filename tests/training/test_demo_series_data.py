"""The series of the demo."""

import sys

import pandas as pd
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.training.demo_series_data import EVENTS, write_series


def test_training_sees_neither_event_and_every_month_is_in_one_file(tmp_path):
    write_series(tmp_path / "train.csv", tmp_path / "held_out.csv")
    train, held_out = (pd.read_csv(tmp_path / name, parse_dates=["month"]) for name in ("train.csv", "held_out.csv"))
    assert list(train) == ["month", "temperature"]
    assert len(train) + len(held_out) == len({*train.month, *held_out.month}) == 61 * 12
    events = held_out[held_out.el_nino == 1].month.dt.strftime("%Y-%m")
    assert [(events.iloc[i], events.iloc[j]) for i, j in ((0, 14), (15, -1))] == list(EVENTS)
    for first, last in EVENTS:
        assert not train.month.between(first, f"{last}-28").any()


def test_a_missing_statsmodels_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.datasets", None)
    with pytest.raises(ConfigError, match=r"the demo of series needs statsmodels, .*: pip install statsmodels"):
        write_series(tmp_path / "train.csv", tmp_path / "held_out.csv")
