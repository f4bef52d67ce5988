"""JSON lines hold what the table holds."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.table.writers.json_lines import JsonLinesWriter


def lines(**columns):
    sink = io.BytesIO()
    JsonLinesWriter(sink).write(pa.RecordBatch.from_pydict(columns))
    return sink.getvalue().decode().splitlines()


@given(st.lists(st.floats(), min_size=1))
def test_floats_are_exact_and_what_is_no_number_is_null(values):
    written = [json.loads(line)["x"] for line in lines(x=pa.array(values, pa.float64()))]
    assert written == [value if math.isfinite(value) else None for value in values]


def test_values_of_all_types():
    time = datetime.datetime(2024, 1, 2, 3, 4, 5, 678)
    columns = {
        "n": pa.array([2**63 - 1, None]),
        "f2": pa.array([1.5, None]).cast(pa.float16()),
        "b": [True, None],
        "s": ['é "x"\n', None],
        "d": pa.array(["a", None]).dictionary_encode(),
        "dec": [decimal.Decimal("12345678901234567890.10"), None],
        "t": pa.array([time, None], pa.timestamp("us")),
        "tz": pa.array([time, None], pa.timestamp("us", "Europe/Berlin")),
        "day": [time.date(), None],
        "clock": pa.array([time.time(), None], pa.time64("us")),
        "span": pa.array([5, None]).cast(pa.duration("s")),
        "l": [[1, None], None],
        "o": [{"p": decimal.Decimal("1.5"), "q": time}, None],
        "nothing": pa.nulls(2),
    }
    first, second = lines(**columns)
    assert first == (
        '{"n":9223372036854775807,"f2":1.5,"b":true,"s":"é \\"x\\"\\n","d":"a","dec":12345678901234567890.10,'
        '"t":"2024-01-02T03:04:05.000678","tz":"2024-01-02T03:04:05.000678Z","day":"2024-01-02",'
        '"clock":"03:04:05.000678","span":5,"l":[1,null],"o":{"p":"1.5","q":"2024-01-02T03:04:05.000678"},'
        '"nothing":null}'
    )
    assert set(json.loads(second).values()) == {None}
