"""A Ray cluster gives the bytes of one process. The tests share one cluster, since it takes seconds to start."""

from __future__ import annotations

import contextlib
import gzip
import logging
import signal

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import Explaining, score_table
from anomaly_vae.batch.cluster.worker import ModelFile
from anomaly_vae.batch.engine import score_locally
from anomaly_vae.errors import ConfigError
from anomaly_vae.table import open_table, parts
from tests.support.data import NAMES, make_rows

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray and what it imports


@pytest.fixture(scope="module")
def on_ray():
    """The module, connected to a cluster with two workers."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'anomaly_vae[ray]'")
    from anomaly_vae.batch.cluster import on_ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
    yield on_ray
    ray.shutdown()


def rows_as_table(count, seed=5):
    ids = pa.array([f"r{i}" for i in range(count)])
    columns = [pa.array(column) for column in make_rows(count, seed).T]
    return pa.table([ids, *columns], names=["id", *NAMES])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CSV files; a cell cannot be read, and a row is to be flagged."""
    folder = tmp_path_factory.mktemp("csv")
    for day, count in enumerate((30, 1, 90)):
        (folder / f"day={day}").mkdir()
        pa.csv.write_csv(rows_as_table(count, day), folder / f"day={day}" / "a.csv")
    with (folder / "day=1" / "a.csv").open("a") as file:
        file.write("x,1,2,oops,4,7\ny,9e9,2,3,4,7\n")
    return folder


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    pq.write_table(rows_as_table(400), path, row_group_size=90)
    return path


@pytest.fixture
def engine(on_ray, model_path, scorer, monkeypatch):
    """An engine with one worker; each takes seconds to start."""
    monkeypatch.setattr(parts, "_MOST_ROWS", 50)
    return on_ray.RayEngine(ModelFile(str(model_path), scorer.bundle.digest), workers=(1, 1))


def contents(path):
    if path.is_dir():
        return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}
    return path.read_bytes()


def test_a_folder_is_that_of_one_process(tmp_path, scorer, engine, folder):
    found = []
    for name, used in (("local", score_locally), ("ray", engine)):
        table, seen, options = open_table(str(folder)), [], {"fdr": 0.2, "only_flagged": True, "keep": ["id", "day"]}
        summary = score_table(scorer, table, f"{tmp_path}/{name}/", engine=used, on_scores=seen.append, **options)
        flags = np.concatenate([each.is_anomaly for each in seen])
        found.append((contents(tmp_path / name), summary.facts(), summary.most_anomalous_row, flags.tolist()))
    assert found[0] == found[1]
    assert found[1][1]["unscored"] == {"unreadable": 1}
    assert engine.facts()["startup_seconds"] > 0


def test_files_that_cannot_be_read_are_left_out_as_in_one_process(tmp_path, scorer, engine):
    good = rows_as_table(3000)
    lines = pa.BufferOutputStream()
    pa.csv.write_csv(good, lines)
    packed = gzip.compress(lines.getvalue().to_pybytes())
    (tmp_path / "in").mkdir()
    pa.csv.write_csv(good.slice(0, 3000), tmp_path / "in" / "a.csv")
    (tmp_path / "in" / "b.csv.gz").write_bytes(packed[:-3000])
    pa.csv.write_csv(good.slice(0, 5), tmp_path / "in" / "c.csv")
    found = []
    for name, used in (("local", score_locally), ("ray", engine)):
        table = open_table(f"{tmp_path}/in", skips=True)
        summary = score_table(scorer, table, f"{tmp_path}/{name}.csv", engine=used)
        found.append((summary.facts(), (tmp_path / f"{name}.csv").read_bytes()))
    assert found[0] == found[1]
    assert set(found[1][0]["skipped"]) == {"b.csv.gz"}


def workers():
    """The processes of actors, which Ray names after what they do."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("MapBatches(_Actor)" in word for word in process.cmdline()):
                yield process


def test_workers_that_are_killed_and_a_job_that_is_stopped_change_nothing(
    tmp_path, on_ray, model_path, scorer, parquet, engine, monkeypatch
):
    monkeypatch.setattr("anomaly_vae.batch.journal._COMMIT_S", 0.0)
    killed, options = [], {"keep": ["id"], "explaining": Explaining(top=2)}

    def kill(summary):
        if not killed:
            for process in workers():
                process.send_signal(signal.SIGKILL)
                killed.append(process)
        if summary.rows >= 250:
            raise KeyboardInterrupt

    score_table(scorer, open_table(str(parquet)), f"{tmp_path}/local.csv", **options)
    with pytest.raises(KeyboardInterrupt):
        score_table(scorer, open_table(str(parquet)), f"{tmp_path}/ray.csv", engine=engine, on_batch=kill, **options)
    assert killed
    two = on_ray.RayEngine(ModelFile(str(model_path), scorer.bundle.digest), workers=(1, 2))
    score_table(scorer, open_table(str(parquet)), f"{tmp_path}/ray.csv", engine=two, resume=True, **options)
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_an_address_without_a_cluster_is_an_error(on_ray):
    with pytest.raises(ConfigError, match=r"--address 127\.0\.0\.1:9: no Ray cluster answers there"):
        on_ray._knock("127.0.0.1:9")
    on_ray._knock("auto")
