"""Jobs that are stopped at every moment and go on: the output is the same, byte for byte."""

from __future__ import annotations

import contextlib
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import Explaining, blocks, journal, score_table
from anomaly_vae.batch.collected import Collector
from anomaly_vae.batch.journal import job_folder
from anomaly_vae.batch.targets import MARKER
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.table import open_table
from tests.batch.test_false_discovery import Calibrated
from tests.support.batch_files import remove
from tests.support.batches import FakeScorer

SIZES = (7, 0, 25, 1, 40)
JOBS = {
    "scores": ("out.csv", {}),
    "Parquet": ("out.parquet", {"keep": ["id"]}),
    "compressed": ("out.jsonl.gz", {"keep": ["id"]}),
    "numbers": ("out.npy", {}),
    "flags": ("out.csv", {"options": ScoreOptions(flag_only=True)}),
    "flagged": ("out.csv", {"only_flagged": True, "keep": ["id"]}),
    "top": ("out.csv", {"top": 9, "keep": ["id"]}),
    "top flagged": ("out.csv", {"top": 9, "only_flagged": True}),
    "decided": ("out.csv", {"fdr": 0.2, "keep": ["id"]}),
    "top decided": ("out.csv", {"fdr": 0.2, "top": 5}),
    "explained": ("out.csv", {"explaining": Explaining(top=2, every=False)}),
    "folder": ("out/", {"keep": ["id"]}),
    "flagged folder": ("out/", {"only_flagged": True}),
    "decided folder": ("out/", {"fdr": 0.2, "only_flagged": True}),
}


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    """Blocks of 4 rows, and a commit after each."""
    monkeypatch.setattr(blocks, "_FIRST_ROWS", 4)
    monkeypatch.setattr(blocks, "_MOST_ROWS", 4)
    monkeypatch.setattr(journal, "_COMMIT_S", 0.0)


def write_input(folder, sizes=SIZES):
    rng, number = np.random.default_rng(1), 0
    for i, rows in enumerate(sizes):
        (folder / f"day={i}").mkdir(parents=True)
        lines = []
        for _ in range(rows):
            number += 1
            value = rng.choice(["high", "-3", "-1", "0", "4", "900"], p=[0.1, 0.1, 0.1, 0.2, 0.2, 0.3])
            lines.append(f"r{number},{value},{rng.choice(['Oslo', 'Rome', 'Bonn'])}\n")
        (folder / f"day={i}" / "rows.csv").write_text("id,a,city\n" + "".join(lines))
    return folder


def score(folder, output, *, stop=None, skips=False, collects=True, **options):
    seen = 0

    def on_batch(_summary):
        nonlocal seen
        seen += 1
        if seen == stop:
            raise Stopped

    table, collector = open_table(str(folder), skips=skips), Collector(FakeScorer.schema) if collects else None
    summary = score_table(Calibrated(), table, output, on_batch=on_batch, collector=collector, **options)
    summary.collected = collector and collector.state()
    return summary


def contents(path):
    if path.is_dir():
        return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}
    return path.read_bytes()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("case", JOBS)
@pytest.mark.filterwarnings("ignore:.*holds numbers without names")
def test_a_job_that_is_stopped_anywhere_gives_the_same_bytes(tmp_path, case):
    name, options = JOBS[case]
    folder = write_input(tmp_path / "in")
    for place in ("whole", "parts", "often"):
        (tmp_path / place).mkdir()
    whole = score(folder, f"{tmp_path}/whole/{name}", **options)
    expected = contents(tmp_path / "whole" / name)
    assert files(tmp_path / "whole") == [name.rstrip("/")]
    output = f"{tmp_path}/parts/{name}"
    for stop in (1, 8, 19, 24):  # the last ones while --fdr writes its flags, or never
        try:
            score(folder, output, stop=stop, **options)
        except Stopped:
            assert files(tmp_path / "parts") in ([f".{name.rstrip('/')}.job"], [])
            found = score(folder, output, resume=True, **options)
            assert found.facts() == whole.facts()
            assert found.collected == whole.collected
            assert (found.anomalies, found.most_anomalous_row) == (whole.anomalies, whole.most_anomalous_row)
        assert contents(tmp_path / "parts" / name) == expected
        assert files(tmp_path / "parts") == [name.rstrip("/")]
        remove(tmp_path / "parts" / name)
    output = f"{tmp_path}/often/{name}"
    for _ in range(9):
        with contextlib.suppress(Stopped):
            score(folder, output, stop=3, resume=True, **options)
    score(folder, output, resume=True, **options)
    assert contents(tmp_path / "often" / name) == expected


def test_a_folder_mirrors_the_files_of_the_input(tmp_path):
    folder = write_input(tmp_path / "in")
    summary = score(folder, f"{tmp_path}/out", keep=["id"])
    score(folder, f"{tmp_path}/out.parquet", keep=["id"])
    whole = pq.read_table(tmp_path / "out.parquet")
    found = [tmp_path / "out" / f"day={i}" / "rows.parquet" for i in range(len(SIZES))]
    tables = [pq.read_table(path, partitioning=None) for path in found]
    assert [table.num_rows for table in tables] == list(SIZES)
    assert pa.concat_tables(tables).equals(whole)
    assert json.loads((tmp_path / "out" / MARKER).read_text()) == summary.facts()
    assert set(contents(tmp_path / "out")) == {f"day={i}/rows.parquet" for i in range(len(SIZES))} | {MARKER}
    with pytest.raises(ConfigError, match="exists already"):
        score(folder, f"{tmp_path}/out")
    score(folder, f"{tmp_path}/out", overwrite=True)
    assert pq.read_schema(found[0]).names == [name for name in whole.column_names if name != "id"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match="replaces a folder only if it is an earlier output"):
        score(folder, f"{tmp_path}/mine/", overwrite=True)


def test_rows_of_a_folder_are_numbered_in_their_file(tmp_path):
    folder = write_input(tmp_path / "in")
    score(folder, f"{tmp_path}/out/", only_flagged=True, keep=["id"])
    first = sum(SIZES[:2])
    table = pq.read_table(tmp_path / "out" / "day=2" / "rows.parquet", partitioning=None)
    assert table.num_rows > 0
    assert table["id"].to_pylist() == [f"r{first + row}" for row in table["row"].to_pylist()]


def damaged(folder):
    """A file that ends in the middle, one of another kind, one of other columns."""
    rows = "".join(f"x{i},-3,Oslo\n" for i in range(150_000))  # more than are read at once
    packed = gzip.compress(f"id,a,city\n{rows}".encode(), compresslevel=1)
    (folder / "day=2" / "rows.csv").unlink()
    (folder / "day=2" / "rows.csv.gz").write_bytes(packed[: len(packed) - 2000])
    (folder / "day=3" / "rows.csv").write_text("id,b,city\n1,2,Oslo\n")
    return {"day=2/rows.csv.gz", "day=3/rows.csv"}


@pytest.mark.parametrize("case", JOBS)
@pytest.mark.filterwarnings("ignore:.*holds numbers without names")
def test_files_that_cannot_be_read_are_left_out_as_if_they_were_not_there(tmp_path, case, monkeypatch):
    name, options = JOBS[case]
    monkeypatch.setattr(blocks, "_FIRST_ROWS", 10_000)
    monkeypatch.setattr(blocks, "_MOST_ROWS", 10_000)
    folder = write_input(tmp_path / "in")
    bad = damaged(folder)
    with pytest.raises(InvalidInput):
        score(folder, f"{tmp_path}/{name}", **options)
    assert files(tmp_path) == ["in"]
    summary = score(folder, f"{tmp_path}/{name}", skips=True, **options)
    assert set(summary.skipped) == bad
    for each in bad:
        assert each in summary.skipped[each]
    expected = contents(tmp_path / name)
    remove(tmp_path / name)
    with contextlib.suppress(Stopped):  # how many rows are read before the fault, the reader of CSV leaves open
        score(folder, f"{tmp_path}/{name}", stop=4, skips=True, **options)
    score(folder, f"{tmp_path}/{name}", resume=True, skips=True, **options)  # which is complete, perhaps
    assert contents(tmp_path / name) == expected
    remove(tmp_path / name)
    for each in bad:
        (folder / each).unlink()
    clean = score(folder, f"{tmp_path}/{name}", **options)
    found = contents(tmp_path / name)
    if isinstance(found, dict):
        found, expected = ({key: value for key, value in each.items() if key != MARKER} for each in (found, expected))
    assert found == expected
    assert (clean.rows, clean.anomalies, clean.unscored) == (summary.rows, summary.anomalies, summary.unscored)
    assert clean.collected == summary.collected


def test_a_job_that_was_stopped_after_its_output_got_its_name_only_tidies_up(tmp_path, monkeypatch):
    folder, output = write_input(tmp_path / "in"), tmp_path / "out.csv"

    def stop(*_arguments, **_options):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(journal.shutil, "rmtree", stop)
        with pytest.raises(Stopped):
            score(folder, str(output), fdr=0.2)
    assert job_folder(output).is_dir()
    expected = output.read_bytes()
    summary = score(folder, str(output), fdr=0.2, resume=True)
    assert (output.read_bytes(), files(tmp_path)) == (expected, ["in", "out.csv"])
    assert summary.discoveries.num_flagged == summary.anomalies > 0
    assert score(folder, str(output), fdr=0.2, resume=True).was_complete


def test_an_output_that_is_there_or_appears_is_never_replaced(tmp_path):
    folder, output = write_input(tmp_path / "in"), tmp_path / "out.csv"
    output.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        score(folder, str(output))
    output.unlink()
    with pytest.raises(Stopped):
        score(folder, str(output), stop=9)
    output.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        score(folder, str(output), resume=True)
    assert output.read_text() == "mine"
    score(folder, str(output), resume=True, overwrite=True)
    assert output.read_text().startswith('"log_px"')


def test_a_report_needs_all_rows(tmp_path):
    folder, output = write_input(tmp_path / "in"), str(tmp_path / "out.csv")
    with pytest.raises(Stopped):
        score(folder, output, stop=9, collects=False)
    with pytest.raises(ConfigError, match="--report shows all rows"):
        score(folder, output, resume=True)
    score(folder, output, resume=True, collects=False)


def test_the_seconds_of_all_stages_are_kept(tmp_path):
    folder, output = write_input(tmp_path / "in"), str(tmp_path / "out.csv")
    with pytest.raises(Stopped):
        score(folder, output, stop=15)
    summary = score(folder, output, resume=True)
    assert set(summary.stages) == {"read", "score", "write"}
    assert all(seconds > 0 for seconds in summary.stages.values())
    assert 0 < summary.resumed < summary.rows


def test_an_input_that_changed_is_refused(tmp_path):
    folder, output = write_input(tmp_path / "in"), str(tmp_path / "out.csv")
    with pytest.raises(Stopped):
        score(folder, output, stop=9)
    (folder / "day=0" / "rows.csv").write_text("id,a,city\n1,2,Oslo\n")
    with pytest.raises(ConfigError, match="the input changed since it was started"):
        score(folder, output, resume=True)
    with pytest.raises(ConfigError, match=r"the options of scoring (changed|and)"):
        score(folder, output, resume=True, only_flagged=True)
