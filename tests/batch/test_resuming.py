"""Which jobs can go on, and what must not change meanwhile."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from anomaly_vae.batch import Explaining, score_table
from anomaly_vae.batch.resuming import identity_of, is_complete, target_of
from anomaly_vae.errors import ConfigError
from anomaly_vae.table import open_table
from tests.support.batches import TEXT, FakeScorer
from tests.support.tables import csv_table

SCHEMA = pa.schema([("x", pa.float64())])


def opened(tmp_path, text=TEXT, **options):
    path = tmp_path / "in.csv"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    table = open_table(str(path), **options)
    table.source.close()
    return table


@pytest.mark.parametrize(
    ("output", "options", "text"),
    [
        ("-", {}, "--resume: what was written to standard output is not kept"),
        ("out.csv", {"top": 3, "explaining": Explaining(top=1, every=True)}, "--resume: --top with --explain holds"),
        ("out/", {"top": 3}, "--top writes one table; give -o the name of a file"),
    ],
)
def test_jobs_that_cannot_go_on_say_so(tmp_path, output, options, text):
    output = output if output == "-" else f"{tmp_path}/{output}"
    with pytest.raises(ConfigError, match=text):
        score_table(FakeScorer(), opened(tmp_path), output, resume=True, **options)


def test_a_pipe_cannot_be_read_again(tmp_path):
    for output, text in (
        (f"{tmp_path}/out.csv", "--resume: a pipe cannot be read again"),
        (f"{tmp_path}/o/", "a pipe"),
    ):
        with pytest.raises(ConfigError, match=text):
            score_table(FakeScorer(), csv_table(TEXT), output, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_what_decides_the_output_is_compared(tmp_path):
    class Other(FakeScorer):
        def p_value_grid(self, **options):
            return super().p_value_grid(**options)._replace(bundle_digest="1" * 64)

    def changed(scorer=None, options="", schema=SCHEMA, text=TEXT, **reading):
        found = identity_of(scorer or FakeScorer(), opened(tmp_path, text, **reading), options, schema)
        return [name for name in found if found[name] != first[name]]

    first = identity_of(FakeScorer(), opened(tmp_path), "", SCHEMA)
    assert changed() == []
    assert changed(missing_values=["-"]) == ["how the input is read"]
    assert changed(Other()) == ["the model"]
    assert changed(options="x") == ["the options of scoring"]
    assert changed(schema=pa.schema([])) == ["the columns of the output"]
    assert changed(text=TEXT + "r6,1,Oslo\n") == ["the input"]


def test_an_output_that_is_older_than_the_input_is_not_that_of_this_job(tmp_path):
    table = opened(tmp_path)
    target = target_of(f"{tmp_path}/out.csv", table, overwrite=False)
    assert not is_complete(target, table)
    (tmp_path / "out.csv").write_text("")
    assert is_complete(target, table)
    os.utime(tmp_path / "out.csv", ns=(0, 1))
    with pytest.raises(ConfigError, match=r"out\.csv exists already, and is older than .*in\.csv"):
        is_complete(target, table)
