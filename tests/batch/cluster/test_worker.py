"""A worker loads the model once, and says what it found; it needs no cluster."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.csv
import pytest

from anomaly_vae.arrow.results import OUTPUT_SCHEMA
from anomaly_vae.batch.blocks import BlockSize
from anomaly_vae.batch.cluster import worker
from anomaly_vae.batch.cluster.messages import unpacked
from anomaly_vae.batch.cluster.worker import ModelFile, PartScorer, work_of
from anomaly_vae.batch.engine import Job, score_locally
from anomaly_vae.errors import BundleError, InvalidInput
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.table import open_table
from anomaly_vae.table.parts import cut
from tests.support.data import NAMES, make_rows


@pytest.fixture
def path(tmp_path):
    pa.csv.write_csv(pa.table(list(make_rows(40).T), names=list(NAMES)), tmp_path / "a.csv")
    return tmp_path / "a.csv"


def asked(scorer, path, model, digest=None):
    job = Job(scorer, ScoreOptions(), OUTPUT_SCHEMA, ["valve"], (), None, BlockSize(16))
    table = open_table(str(path))
    work = work_of(ModelFile(str(model), digest or scorer.bundle.digest), job, table)
    return job, pickle.loads(pickle.dumps(work)), cut(table)  # noqa: S301


def test_rows_are_those_of_one_process_in_blocks_of_one_size(scorer, path, model_path, monkeypatch):
    job, work, parts = asked(scorer, path, model_path)
    found = PartScorer(work)
    messages = [unpacked(data, OUTPUT_SCHEMA.names) for data in found.messages(parts[0])]
    monkeypatch.setattr(worker, "load", None)  # it is loaded once
    again = [unpacked(data, OUTPUT_SCHEMA.names) for data in found.messages(parts[0])]
    for each in (messages, again):
        assert [None if message.rows is None else len(message.rows.usable) for message in each] == [16, 16, 8, None]
    with score_locally(job, open_table(str(path)), (0, 0)) as batches:
        expected = [pa.table(batch.columns, names=["valve", *OUTPUT_SCHEMA.names]) for batch in batches]
    got = [pa.table(message.rows.columns, names=["valve", *OUTPUT_SCHEMA.names]) for message in messages[:-1]]
    assert pa.concat_tables(got).equals(pa.concat_tables(expected))


def test_errors_of_ours_are_messages(scorer, path, model_path, tmp_path):
    _, work, parts = asked(scorer, path, model_path, digest="f" * 64)
    (end,) = [unpacked(data, OUTPUT_SCHEMA.names) for data in PartScorer(work).messages(parts[0])]
    assert isinstance(end.error, BundleError)
    assert "expected ffffffffffff; copy the same model to every node" in str(end.error)
    _, work, parts = asked(scorer, path, tmp_path / "nothing")
    (end,) = [unpacked(data, OUTPUT_SCHEMA.names) for data in PartScorer(work).messages(parts[0])]
    assert "the model must have the same path on every node" in end.error.__notes__[0]
    _, work, parts = asked(scorer, path, model_path)
    path.unlink()
    (end,) = [unpacked(data, OUTPUT_SCHEMA.names) for data in PartScorer(work).messages(parts[0])]
    assert isinstance(end.error, InvalidInput)
