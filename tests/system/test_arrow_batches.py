"""Arrow batches of a mixed table: the same bits as files and the service, by DuckDB, Polars and datasets too."""

from __future__ import annotations

import datetime

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import anomaly_vae
from anomaly_vae.client import Client
from anomaly_vae.errors import InvalidInput
from tests.support.payments import payments, payments_model
from tests.support.running import running

NUM_ROWS = 150


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("payments") / "model"
    payments_model(path)
    return path


@pytest.fixture(scope="module")
def scorer(model):
    return anomaly_vae.load(model)


@pytest.fixture(scope="module")
def table():
    """Rows of which some cannot be read: fees are texts, and amounts may be infinite. Others miss cells, or are new."""
    found = payments(NUM_ROWS, seed=5)
    fees = [str(fee) for fee in found["fee"].to_pylist()]
    fees[3], fees[40], fees[41] = "n/k", "?", "1_000"
    amounts = found["amount"].to_numpy().copy()
    amounts[[7, 41]] = np.inf
    amounts[8] = np.nan
    cities = found["city"].to_pylist()
    cities[9], cities[10] = "Lima", None
    times = found["paid"].to_pylist()
    times[11], times[12] = None, datetime.datetime(1, 1, 1)
    new = {"amount": amounts, "fee": fees, "city": cities, "paid": pa.array(times, pa.timestamp("us"))}
    for name, cells in new.items():
        found = found.set_column(found.schema.names.index(name), name, pa.array(cells))
    empty = pa.table([pa.nulls(1, field.type) for field in found.schema], schema=found.schema)
    return pa.concat_tables([found, empty]).combine_chunks()


def bits(table):
    """What each column holds, so that two tables of the same bits are equal."""
    return {
        name: (column.type, column.combine_chunks().is_valid().to_pylist(), _bytes(column))
        for name, column in zip(table.schema.names, pa.table(table).columns, strict=True)
    }


def _bytes(column):
    return [value.hex() if isinstance(value, float) else value for value in column.to_pylist()]


def same(first, second):
    assert first.schema.names == second.schema.names
    for name, found in bits(first).items():
        assert found == bits(second.select([name]))[name], name


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--flag-only",), {"flag_only": True}),
        (("--target-fpr", "0.2"), {"target_fpr": 0.2}),
        (("--tail", "both"), {"tail": "both"}),
    ],
)
def test_a_batch_gives_what_the_command_line_writes(model, scorer, table, arguments, options, run_cli, tmp_path):
    pq.write_table(table, tmp_path / "payments.parquet")
    run_cli("score", model, "payments.parquet", "-o", "scores.parquet", "--keep", "id,city", *arguments)
    written = pq.read_table(tmp_path / "scores.parquet")
    out = scorer.score_arrow(table, keep=["id", "city"], **options)
    assert out.schema.equals(written.schema)
    same(out, written)
    reasons = dict(zip(out["id"].to_pylist(), out["reason"].to_pylist(), strict=True))
    assert reasons[3] == "column 'fee': 'n/k' is not a number"
    assert reasons[7] == "column 'amount' is infinite"
    assert reasons[9] == "column 'city' holds a category that training never had"
    assert pc.sum(pc.is_null(out["num_samples"])).as_py() == 3


@pytest.mark.filterwarnings("ignore:num_samples is 64")
def test_another_budget_gives_what_the_command_line_writes(model, scorer, table, run_cli, tmp_path):
    pq.write_table(table, tmp_path / "payments.parquet")
    run_cli("score", model, "payments.parquet", "-o", "scores.parquet", "--num-samples", "64")
    same(scorer.score_arrow(table, num_samples=64), pq.read_table(tmp_path / "scores.parquet"))


def test_scores_are_those_of_score(scorer):
    rows = payments(60, seed=6)
    out, scores = scorer.score_arrow(rows), scorer.score(rows)
    for name in (
        "log_px",
        "elbo",
        "std_error",
        "ess_ratio",
        "p_value",
        "is_anomaly",
        "pareto_k",
        "num_samples",
        "score",
    ):
        assert out[name].to_numpy().tobytes() == getattr(scores, name).tobytes(), name
    assert out["reason"].to_pylist() == scores.reason
    flags = scorer.flag(rows)
    assert scorer.score_arrow(rows, flag_only=True)["is_anomaly"].to_pylist() == flags.is_anomaly.tolist()


def test_a_row_has_its_bits_in_every_batch(scorer, table):
    whole = scorer.score_arrow(table, keep=["id"])
    for size in (1, 37):
        parts = [scorer.score_arrow(batch, keep=["id"]) for batch in table.slice(0, 50).to_batches(max_chunksize=size)]
        same(pa.Table.from_batches(parts), whole.slice(0, 50))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_are_read(scorer, unit):
    rows = payments(20, seed=7)
    paid = rows["paid"].cast(pa.timestamp(unit))
    same(scorer.score_arrow(rows.set_column(5, "paid", paid)), scorer.score_arrow(rows))
    texts = pc.strftime(rows["paid"], "%Y-%m-%d %H:%M:%S")
    same(scorer.score_arrow(rows.set_column(5, "paid", texts)), scorer.score_arrow(rows))


def test_a_time_zone_that_training_had_not_is_refused(scorer):
    rows = payments(20, seed=7)
    zoned = pc.assume_timezone(rows["paid"], "UTC")
    with pytest.raises(InvalidInput, match="column 'paid' holds times in the time zone UTC") as caught:
        scorer.score_arrow(rows.set_column(5, "paid", zoned))
    assert caught.value.field == "paid"


def test_the_service_gives_the_same_bits(model, scorer, table):
    with running(model) as service, Client(service.target) as client:
        same(client.score_arrow(table, keep=["id"]), scorer.score_arrow(table, keep=["id"]))
        batch = table.to_batches()[0]
        same(client.score_arrow(batch, flag_only=True), scorer.score_arrow(batch, flag_only=True))
        assert client.arrow_schema().equals(scorer.arrow_schema())
        assert client.score_arrow(table.slice(0, 0)).num_rows == 0


@pytest.fixture
def database(table):
    """The rows in DuckDB with its own types, 20 times: more than DuckDB gives a function at once."""
    con = duckdb.connect()
    con.register("rows", table)
    con.sql(
        "CREATE TABLE payments AS SELECT 1000 * part + id AS id, amount, fee, "
        "city::ENUM('Oslo', 'Rome', 'Bonn', 'Lima') AS city, items::HUGEINT AS items, paid "
        "FROM rows, range(20) AS parts(part)"
    )
    yield con
    con.close()


def test_a_function_of_duckdb_gives_the_same_bits(scorer, table, database):
    calls = []

    def score(rows):
        calls.append(len(rows))
        return scorer.score_arrow(pa.Table.from_struct_array(rows))["score"]

    database.create_function("score", score, None, "DOUBLE", type="arrow", null_handling="special")
    found = database.sql("SELECT id % 1000 AS id, score(payments) AS score FROM payments ORDER BY ALL").to_arrow_table()
    assert len(calls) > 1
    expected = dict(zip(table["id"].to_pylist(), scorer.score_arrow(table)["score"].to_pylist(), strict=True))
    assert found["score"].to_pylist() == [expected[i] for i in found["id"].to_pylist()]


def test_a_stream_of_duckdb_gives_the_same_bits(scorer, table, database, tmp_path):
    source = database.cursor().sql("SELECT * FROM payments ORDER BY id").to_arrow_reader(100)
    batches = (scorer.score_arrow(batch, keep=["id"]) for batch in source)
    schema = pa.schema([source.schema.field("id"), *scorer.arrow_schema()])
    database.register("scores", pa.RecordBatchReader.from_batches(schema, batches))
    database.sql(f"COPY scores TO '{tmp_path / 'scores.parquet'}'")
    found = pq.read_table(tmp_path / "scores.parquet")
    assert found.num_rows == 20 * len(table)
    by_id = found.filter(pc.field("id") < 1000).drop_columns(["id"])
    same(by_id, scorer.score_arrow(table.slice(0, NUM_ROWS)))


@pytest.mark.parametrize("categories", [pl.String, pl.Categorical, pl.Enum(["Oslo", "Rome", "Bonn", "Lima"])])
def test_polars_gives_the_same_bits(scorer, table, categories, tmp_path):
    frame = pl.from_arrow(table).with_columns(pl.col("city").cast(categories))
    expected = scorer.score_arrow(table)
    same(scorer.score_arrow(frame.to_arrow()), expected)
    frame.write_parquet(tmp_path / "rows.parquet", row_group_size=40)

    def score(part):
        return pl.from_arrow(scorer.score_arrow(part.to_arrow()))

    lazy = pl.scan_parquet(tmp_path / "rows.parquet")
    scored = lazy.map_batches(score, schema=pl.Schema(scorer.arrow_schema()), streamable=True)
    scored.sink_parquet(tmp_path / "scores.parquet")
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(pl.from_arrow(expected))


def test_a_dataset_gives_the_same_bits(scorer, table, tmp_path):
    pa.dataset.write_dataset(table, tmp_path / "rows", format="parquet", max_rows_per_file=40, max_rows_per_group=20)
    rows = pa.dataset.dataset(tmp_path / "rows", format="parquet")
    batches = (scorer.score_arrow(batch, keep=["id", "city"]) for batch in rows.scanner(batch_size=30).to_batches())
    schema = pa.schema([rows.schema.field("id"), rows.schema.field("city"), *scorer.arrow_schema()])
    pa.dataset.write_dataset(batches, tmp_path / "scores", schema=schema, format="parquet", partitioning=["city"])
    found = pa.dataset.dataset(tmp_path / "scores", format="parquet").to_table().sort_by("id")
    expected = scorer.score_arrow(table, keep=["id"]).sort_by("id")
    same(found, expected)
