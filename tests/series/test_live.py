"""Series that are scored as their values arrive."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anomaly_vae
from anomaly_vae.client import AsyncClient
from anomaly_vae.columns.reading.records import Input, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.scores import ScoreRow
from anomaly_vae.series.grid import make_panel
from anomaly_vae.series.live import SeriesScorer, StepResult
from anomaly_vae.series.scoring import score_panel
from tests.support.windows import FakeScorer, window_schema

START = 1_700_000_000.0


def test_the_package_exports_it():
    assert anomaly_vae.SeriesScorer is SeriesScorer


def test_it_needs_no_networks_and_no_tables():
    """Programs that use a client have neither onnxruntime nor pyarrow."""
    program = (
        "import sys, anomaly_vae.series.live, anomaly_vae.series.scoring, anomaly_vae.series.tables\n"
        "print([name for name in ('torch', 'onnxruntime', 'pyarrow', 'scipy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def shared_fields():
    """The fields of scores that steps have too: models of windows have no contrast."""
    own = {field.name for field in fields(StepResult)}
    return [field for field in fields(ScoreRow) if field.name in own]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([1, 1, 1, 1, 2, 3, 9]),
        st.tuples(*[st.floats(-1e3, 1e3) | st.none()] * 2),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.integers(2, 12))
def test_live_scores_are_those_of_the_table(steps, length):
    """The same bits in every field, and the same reasons, with gaps, missing cells and two series."""
    schema = window_schema(length, ("x", "y"), step_seconds=60.0, timestamp="t", series="s")
    ticks, times = {"a": 0, "b": 5}, []
    live = SeriesScorer(FakeScorer(schema))
    results = []
    for name, more, values in steps:
        ticks[name] += more
        times.append(START + 60.0 * ticks[name])
        results.append(live.push(times[-1], values, name))
    values = np.array([[np.nan if v is None else v for v in row] for _, _, row in steps], dtype=float).reshape(-1, 2)
    names = [name for name, _, _ in steps]
    try:
        panel = make_panel(values, np.array(times, dtype=float), names, step_seconds=60.0)
    except InvalidInput as error:
        assert "the model's windows have a step" in str(error)  # noqa: PT017 (a table sees more than one step)
        return
    table = score_panel(FakeScorer(schema).score_rows, panel, length)
    assert [result.reason for result in results] == table.reason
    for field in shared_fields():
        if field.name != "reason":
            found = [getattr(result, field.name) for result in results]
            expected = [
                value.item() if there else None
                for value, there in zip(getattr(table, field.name), table.has_window, strict=True)
            ]
            np.testing.assert_array_equal(np.array(found, dtype=float), np.array(expected, dtype=float))
    assert [(result.timestamp, result.series) for result in results] == list(zip(times, names, strict=True))


def test_steps_without_times():
    live = SeriesScorer(FakeScorer(window_schema(3)))
    results = [live.push(None, float(x)) for x in range(5)]
    assert [result.log_px is None for result in results] == [True, True, False, False, False]
    assert results[0].reason == "warm-up: the first 2 steps of a series have no full window"
    assert live._scorer.rows[-1].tolist() == [2.0, 3.0, 4.0]
    assert (results[0].series, results[0].timestamp) == (None, None)


def test_times_are_read_as_in_training():
    reading = TimeReading(order="dmy", zone="+02:00")
    schema = window_schema(4, step_seconds=86_400.0, timestamp="day", inputs=(Input(name="day", reading=reading),))
    live = SeriesScorer(FakeScorer(schema))
    live.push("03.04.2024", 1.0)
    result = live.push(datetime(2024, 4, 4, tzinfo=UTC), 1.0)
    assert result.timestamp == datetime(2024, 4, 4, tzinfo=UTC).timestamp()


def test_markers_of_missing_cells_are_those_of_the_model():
    schema = window_schema(2)
    live = SeriesScorer(FakeScorer(Schema(columns=schema.columns, shape=schema.shape, missing_values=("-999",))))
    live.push(None, 1.0)
    assert live.push(None, -999).reason == "missing: the step has no value"
    assert live.push(None, 2.0).log_px is not None
    assert np.isnan(live._scorer.rows[-1][0])


def test_an_error_changes_nothing():
    """Also one of the service: the same step can be pushed again."""
    schema = window_schema(2, step_seconds=60.0, timestamp="t")
    scorer = FakeScorer(schema)
    live, plain = SeriesScorer(scorer), SeriesScorer(FakeScorer(schema))
    for each in (live, plain):
        each.push(0.0, 1.0)
    with pytest.raises(InvalidInput):
        live.push(0.0, 2.0)
    with pytest.raises(InvalidInput):
        live.push(60.0, "two")

    def fail(rows):
        raise ServiceError("gone", code="UNAVAILABLE")

    scorer.score_rows = fail
    with pytest.raises(ServiceError):
        live.push(60.0, 2.0)
    del scorer.score_rows
    assert live.push(60.0, 2.0).log_px == plain.push(60.0, 2.0).log_px is not None


def test_the_oldest_series_is_forgotten():
    live = SeriesScorer(FakeScorer(window_schema(2)), most_series=2)
    for name in ("a", "b", "a", "c"):
        live.push(None, 1.0, name)
    assert len(live) == 2
    assert live.push(None, 1.0, "a").log_px is not None
    assert live.push(None, 1.0, "b").reason.startswith("warm-up")
    live.forget("a")
    live.forget("nobody")
    assert live.push(None, 1.0, "a").reason.startswith("warm-up")


def test_names_of_series_are_texts_as_in_tables():
    live = SeriesScorer(FakeScorer(window_schema(2)))
    live.push(None, 1.0, 3)
    assert live.push(None, 1.0, "3").log_px is not None
    with pytest.raises(InvalidInput, match="series: nan is a missing name"):
        live.push(None, 1.0, float("nan"))


def test_threads_push_to_their_own_series():
    live = SeriesScorer(FakeScorer(window_schema(4)))
    found = {}

    def work(name):
        found[name] = [live.push(None, float(x), name).log_px for x in range(200)]

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["0"] == found["1"] == found["2"] == found["3"]
    assert found["0"][3] is not None


def test_a_replaced_model_is_asked_again():
    """A client has the description of the model from its first call."""

    class Client(FakeScorer):
        calls, next_schema = 0, window_schema(2)

        def get_model(self):
            self.schema, self.calls = self.next_schema, self.calls + 1

        def score_rows(self, rows):
            if self.calls == 0:
                raise ServiceError("another model", code="ABORTED")
            return super().score_rows(rows)

    client = Client(window_schema(2))
    live = SeriesScorer(client)
    live.push(None, 1.0)
    assert live.push(None, 2.0).log_px is not None
    assert client.calls == 1
    client.calls, client.next_schema = 0, window_schema(3)
    with pytest.raises(ConfigError, match="other windows than before"):
        live.push(None, 3.0)


def test_only_models_of_windows_can_be_used():
    table = FakeScorer(Schema(columns=(Column(name="a", kind="continuous"),)))
    with pytest.raises(ConfigError, match="the model is one of table rows"):
        SeriesScorer(table)
    with pytest.raises(ConfigError, match="AsyncClient cannot be used"):
        SeriesScorer(AsyncClient("127.0.0.1:1"))
    with pytest.raises(ConfigError, match="most_series must be at least 1, got 0"):
        SeriesScorer(FakeScorer(window_schema(2)), most_series=0)
    assert repr(SeriesScorer(FakeScorer(window_schema(2)))) == "SeriesScorer(length=2, channels=('x',), series=0)"
