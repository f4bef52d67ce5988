"""Arrow batches in, scores out, by a scorer whose scores are known: every type, order and place of the columns."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.arrow import scoring
from anomaly_vae.arrow.results import FLAG_SCHEMA, OUTPUT_SCHEMA
from anomaly_vae.arrow.scoring import arrow_schema, score_arrow
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.score_options import ScoreOptions
from tests.support.batches import FakeScorer
from tests.support.shaped import IMAGE, WINDOW, schema_with
from tests.support.shaped_scorers import SumScorer

OPTIONS = ScoreOptions()

# Cells of the number and of the city, as rows of the model see them: a new city is -1.
NUMBERS = {None: np.nan, -3: -3.0, 0: 0.0, 2: 2.0, 7: 7.0}
CITIES = {None: np.nan, "Oslo": 0.0, "Rome": 1.0, "Bonn": -1.0}

NUMBER_TYPES = [
    *(pa.int8(), pa.int64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2), pa.decimal256(40, 3)),
    *(pa.string(), pa.large_string(), pa.string_view()),
]
TEXT_TYPES = [
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.uint32(), pa.large_string())),
]


def number_column(cells, kind):
    is_text = kind in (pa.string(), pa.large_string(), pa.string_view())
    convert = str if is_text else Decimal if pa.types.is_decimal(kind) else (lambda cell: cell)
    return pa.array([None if cell is None else convert(cell) for cell in cells], kind)


def scored(batch, scorer=None, keep=(), **options):
    return score_arrow(scorer or FakeScorer(), batch, ScoreOptions(**options), keep)


@st.composite
def tables(draw):
    """A table of chunks whose types are one of many for the same cells, with the cells."""
    cells = draw(st.lists(st.tuples(st.sampled_from([*NUMBERS]), st.sampled_from([*CITIES])), max_size=12))
    number, text = draw(st.sampled_from(NUMBER_TYPES)), draw(st.sampled_from(TEXT_TYPES))
    cuts = sorted(draw(st.lists(st.integers(0, len(cells)), max_size=3)))
    pieces = [cells[start:end] for start, end in zip([0, *cuts], [*cuts, len(cells)], strict=True)]
    columns = {
        "a": pa.chunked_array([number_column([a for a, _ in piece], number) for piece in pieces], number),
        "city": pa.chunked_array([pa.array([city for _, city in piece], text) for piece in pieces], text),
        "note": pa.chunked_array([pa.array([[i] for i in range(len(cells))], pa.list_(pa.int8()))]),
    }
    order = draw(st.permutations([*columns]))
    start = draw(st.integers(0, len(cells)))
    stop = draw(st.integers(start, len(cells)))
    return pa.table({name: columns[name] for name in order}).slice(start, stop - start), cells[start:stop]


@settings(max_examples=150, deadline=None)
@given(tables())
def test_the_rows_are_those_of_the_cells_whatever_their_types_order_chunks_and_slices(drawn):
    table, cells = drawn
    scorer = FakeScorer()
    out = scored(table, scorer, keep=["note"])
    expected = np.array([[CITIES[city], NUMBERS[a]] for a, city in cells]).reshape(-1, 2)
    np.testing.assert_array_equal(np.concatenate(scorer.seen), expected)
    assert type(out) is pa.Table
    assert out.schema.equals(pa.schema([table.schema.field("note"), *OUTPUT_SCHEMA]))
    assert out["note"].equals(table["note"])
    assert out["log_px"].to_pylist() == np.nan_to_num(expected[:, 1]).tolist()
    assert out["reason"].to_pylist() == ["city is new" if city == "Bonn" else None for _, city in cells]
    out.validate(full=True)
    for batch in table.to_batches():
        again = scored(batch)
        assert type(again) is pa.RecordBatch
        assert again.num_rows == batch.num_rows


def test_dictionaries_of_different_chunks_are_of_one_meaning():
    """Parquet and DuckDB write a dictionary for each chunk: the same index is another text there."""
    kind = pa.dictionary(pa.int8(), pa.string())
    chunks = [pa.array(["Oslo", "Rome"], kind), pa.array(["Rome", None, "Oslo"], kind)]
    scorer = FakeScorer()
    scored(pa.table({"a": [1.0] * 5, "city": pa.chunked_array(chunks)}), scorer)
    np.testing.assert_array_equal(scorer.seen[0][:, 0], [0.0, 1.0, 1.0, np.nan, 0.0])


def test_bad_cells_give_nulls_and_a_reason_and_the_other_rows_go_on():
    """Also where no row can be used: the next batch of the stream may be fine."""
    batch = pa.record_batch({"a": ["1.5", "high", "inf", None], "city": ["Oslo", "Rome", "Rome", "Bonn"]})
    out = scored(batch)
    assert out["reason"].to_pylist() == [
        None,
        "column 'a': 'high' is not a number",
        "column 'a' is infinite",
        "city is new",
    ]
    assert out["log_px"].to_pylist() == [1.5, None, None, 0.0]
    assert out["std_error"].to_pylist() == [None, None, None, 0.25]  # NaN is never written
    assert out["is_anomaly"].to_pylist() == [False, None, None, False]
    lost = scored(batch.slice(1, 2))
    assert lost["score"].null_count == lost["num_samples"].null_count == 2
    flags = scored(batch, flag_only=True)
    assert flags.schema.equals(FLAG_SCHEMA)
    assert flags["is_anomaly"].to_pylist() == [False, None, None, False]


@pytest.mark.parametrize("flag_only", [True, False])
@pytest.mark.parametrize("is_table", [True, False])
def test_no_rows_give_no_rows_with_all_columns(flag_only, is_table):
    schema = pa.schema([("id", pa.int64()), ("city", pa.string()), ("a", pa.float64())])
    nothing = schema.empty_table() if is_table else pa.RecordBatch.from_pylist([], schema=schema)
    out = scored(nothing, keep=["id"], flag_only=flag_only)
    assert type(out) is type(nothing)
    assert out.num_rows == 0
    assert out.schema.equals(pa.schema([schema.field("id"), *(FLAG_SCHEMA if flag_only else OUTPUT_SCHEMA)]))


def test_a_table_is_read_in_parts(monkeypatch):
    monkeypatch.setattr(scoring, "_ROWS_AT_ONCE", 3)
    scorer = FakeScorer()
    numbers = [1.0, 2.0, np.inf, 4.0, 5.0, 6.0, 7.0, 8.0]
    out = scored(pa.table({"a": numbers, "city": ["Oslo"] * 8}), scorer)
    assert [len(rows) for rows in scorer.seen] == [2, 3, 2]
    assert out["log_px"].to_pylist() == [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 8.0]


def test_kept_columns_come_first_and_unchanged():
    identifiers = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"] * 2, pa.binary(16)))
    field = pa.field("key", pa.uuid(), nullable=False, metadata={"unit": "none"})
    schema = pa.schema([("a", pa.float64()), field, ("city", pa.string())])
    batch = pa.RecordBatch.from_arrays([pa.array([1.0, np.inf]), identifiers, pa.array(["Oslo", None])], schema=schema)
    out = scored(batch, keep=["key", "a"])
    assert out.schema.names[:3] == ["key", "a", "log_px"]
    assert out.schema.field("key").equals(field, check_metadata=True)
    assert out["key"].equals(identifiers)
    assert out["a"].to_pylist() == [1.0, np.inf]


CASES = {
    "missing": ({"a": [1.0], "town": ["Oslo"]}, "1 of the model's 2 columns are missing: 'city'; found 'a', 'town'"),
    "nested": ({"a": [[1.0]], "city": ["Oslo"]}, "column 'a' holds list<"),
    "a date": ({"a": pa.array([0], pa.date32()), "city": ["Oslo"]}, "column 'a' holds dates and times, expected numbe"),
    "a number": ({"a": [1.0], "city": [3]}, r"column 'city' holds numbers \(int64\), expected text"),
    "bytes": ({"a": [1.0], "city": [b"Oslo"]}, "column 'city' holds binary values, expected text"),
    "numbers as a dictionary": (
        {"a": pa.array([1.0]).dictionary_encode(), "city": ["Oslo"]},
        "column 'a' holds dictionary<",
    ),
    "an extension type": (
        {"a": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), "city": ["Oslo"]},
        r"column 'a' is of the extension type extension<arrow.bool8>; cast it .* such as its storage type int8",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_table", [True, False])
def test_columns_that_do_not_fit_are_refused_by_name(case, is_table):
    columns, message = CASES[case]
    batch = pa.table(columns) if is_table else pa.record_batch(columns)
    with pytest.raises(InvalidInput, match=message) as caught:
        scored(batch)
    assert caught.value.field in {"a", "city"}


def test_a_column_that_appears_twice_is_refused_where_it_is_used():
    batch = pa.RecordBatch.from_arrays([pa.array([1.0])] * 2 + [pa.array(["Oslo"])] * 3, ["a", "b", "b", "city", "id"])
    assert scored(batch)["log_px"].to_pylist() == [1.0]
    with pytest.raises(InvalidInput, match="column 'a' appears 2 times"):
        scored(batch.rename_columns(["a", "a", "b", "city", "id"]))
    with pytest.raises(InvalidInput, match="keep names 'b', of which the batch has 2 columns"):
        scored(batch, keep=["b"])


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("id", r"keep must be a list of names, got the text 'id'; write \['id'\]"),
        (["none"], "keep names 'none', of which the batch has 0 columns"),
        (["id", "id"], "keep names 'id' more than once"),
        (["score"], "keep names 'score', which is also a column of the results"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused_before_a_row_is_scored(keep, message):
    scorer = FakeScorer()
    batch = pa.record_batch({"a": [1.0], "city": ["Oslo"], "id": [1], "score": [0.0]})
    with pytest.raises((ConfigError, InvalidInput), match=message):
        scored(batch, scorer, keep=keep)
    assert scorer.seen == []


def test_other_data_are_refused_with_what_to_do():
    with pytest.raises(InvalidInput, match=r"takes a pyarrow.RecordBatch or pyarrow.Table, got dict; convert it"):
        scored({"a": [1.0]})


def texts_of_buffers(offsets, data):
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


DAMAGED = {
    "outside of its buffers": texts_of_buffers([0, 1_000_000, 4], b"Oslo"),
    "not UTF-8": texts_of_buffers([0, 1, 4], b"\xffslo"),
    "no such entry": pa.DictionaryArray.from_arrays(pa.array([0, 9]), pa.array(["Oslo"]), safe=False),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("chunks", [1, 2])
def test_a_damaged_batch_is_refused_by_the_name_of_the_column(case, chunks):
    """A batch may come from another process: what it says of itself is not trusted."""
    table = pa.concat_tables([pa.table({"a": [1.0, 2.0], "city": DAMAGED[case]})] * chunks)
    with pytest.raises(InvalidInput, match="column 'city' is damaged: ") as caught:
        scored(table)
    assert caught.value.field == "city"
    assert "\n" not in str(caught.value)


def test_a_model_with_a_contrast_adds_a_column():
    class WithContrast(FakeScorer):
        has_contrast = True

        def score_rows(self, rows, **options):
            return replace(super().score_rows(rows, **options), contrast=rows[:, 1] * 2.0)

    out = scored(pa.record_batch({"a": ["1", "high", "3"], "city": ["Oslo"] * 3}), WithContrast())
    assert out.schema.names == [*OUTPUT_SCHEMA.names, "contrast"]
    assert out["contrast"].to_pylist() == [2.0, None, 6.0]
    assert arrow_schema(WithContrast(), OPTIONS).equals(out.schema)
    assert arrow_schema(WithContrast(), ScoreOptions(flag_only=True)).equals(FLAG_SCHEMA)


@pytest.mark.parametrize(
    ("shape", "instead"), [(WINDOW, "SeriesScorer for steps"), (IMAGE, "Scorer.score for arrays of i")]
)
def test_models_of_windows_and_images_say_what_to_use(shape, instead):
    """Their cells are no columns of anyone's table."""
    scorer = SumScorer(schema_with(shape))
    with pytest.raises(ConfigError, match=f"score_arrow is for rows of tables; this model is one of .*{instead}"):
        scored(pa.record_batch({"a": [1.0]}), scorer)
    with pytest.raises(ConfigError, match=instead):
        arrow_schema(scorer, OPTIONS)
