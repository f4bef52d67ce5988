"""The examples of Spark's page run, and give the same bits as the scorer alone. `make spark` runs this file."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import anomaly_vae
from tests.support.documents import ROOT, blocks_of
from tests.support.examples import Examples
from tests.support.payments import payments, payments_model

PAGE = ROOT / "docs" / "spark.md"

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="no pyspark: `make spark` installs it"),
    pytest.mark.skipif(not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="Spark needs Java"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets that Spark leaves open
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="module")
def spark(folder):
    """A session of two tasks at a time, with small batches; its processes run in the folder and can import tests."""
    from pyspark.sql import SparkSession

    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": python_path}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        session = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "7").getOrCreate()
        yield session
        session.stop()


@pytest.fixture(scope="module")
def page(spark, folder, model_path):
    """The page, after all of its examples but those for a cluster have run in the folder."""
    examples = Examples(PAGE, folder, model_path, met=frozenset({"needs Spark"}))
    examples.run()
    return examples


@pytest.fixture(scope="module")
def scorer(model_path):
    return anomaly_vae.load(model_path)


def same(found, expected):
    """Whether tables have the same rows, in any order, with the same bits: NaN would differ from NaN, and from null."""
    found, expected = found.sort_by("id"), expected.sort_by("id")
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        assert found[name].equals(expected[name]), name


def test_all_examples_run(page):
    assert page.done == len(blocks_of(PAGE))


@pytest.mark.parametrize(
    ("written", "options"), [("scores", {}), ("flags", {"flag_only": True}), ("scores_by_pandas", {})]
)
def test_what_they_write_is_what_the_scorer_returns(page, folder, scorer, written, options):
    rows = pyarrow.csv.read_csv(folder / "new.csv").set_column(0, "id", pa.array(range(75), pa.int32()))
    same(pq.read_table(folder / written), scorer.score_arrow(rows, keep=["id"], **options))


@pytest.mark.parametrize("partitions", [1, 3])
def test_faulty_rows_do_not_stop_a_job(page, spark, folder, scorer, partitions):
    """Rows with nulls, NaN and infinite cells have the same reasons and nulls in every partition and batch."""
    from pyspark.sql.types import StructType
    from scoring import score  # of the page

    rows = pyarrow.csv.read_csv(folder / "new.csv")
    flow = rows["flow"].to_numpy().copy()
    flow[[3, 40]], flow[41] = np.inf, np.nan
    pressure = pa.array(rows["pressure"].to_numpy(), mask=np.arange(75) % 20 == 1)
    for name, cells in (("flow", pa.array(flow)), ("pressure", pressure)):
        rows = rows.set_column(rows.column_names.index(name), name, cells)
    pq.write_table(rows, folder / "faulty.parquet")

    read = spark.read.parquet(str(folder / "faulty.parquet")).repartition(partitions)
    results = spark.createDataFrame(scorer.arrow_schema().empty_table()).schema
    found = read.mapInArrow(score, StructType([read.schema["id"], *results])).toArrow()
    expected = scorer.score_arrow(rows, keep=["id"])
    assert expected["score"].null_count == 2
    same(found, expected)


def test_texts_decimals_and_times_are_those_of_training_and_a_scorer_can_be_sent(spark, folder):
    """Spark's own types become those of the file again. The scorer is pickled with the function."""
    from pyspark.sql.types import StructType

    payments_model(folder / "payments")
    rows = payments(40, seed=5)
    pq.write_table(rows, folder / "payments.parquet")
    scorer = anomaly_vae.load(folder / "payments", threads=1)

    def score(batches):
        for batch in batches:
            yield scorer.score_arrow(batch, keep=["id"])

    read = spark.read.parquet(str(folder / "payments.parquet")).repartition(3)
    results = spark.createDataFrame(scorer.arrow_schema().empty_table()).schema
    found = read.mapInArrow(score, StructType([read.schema["id"], *results])).toArrow()
    same(found, scorer.score_arrow(rows, keep=["id"]))
