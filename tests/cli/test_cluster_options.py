"""The options of a cluster, and the jobs that have none."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from anomaly_vae.cli import cluster_options
from anomaly_vae.cli.cluster_options import ClusterOptions
from anomaly_vae.errors import ConfigError


def asked(*arguments):
    seen = []

    @click.command()
    @cluster_options.cluster_options
    def command(cluster):
        seen.append(cluster)

    done = CliRunner().invoke(command, arguments)
    return seen[0] if seen else done.output


def test_a_command_gets_the_options_as_one_argument():
    assert asked() == ClusterOptions("local", None, None)
    assert asked("--engine", "ray", "--address", "a:1", "--workers", "2:16") == ClusterOptions("ray", "a:1", (2, 16))
    assert asked("--workers", "3").workers == (3, 3)


@pytest.mark.parametrize("text", ["0", "-1", "a", "2:", "2:1", "1:2:3"])
def test_other_numbers_of_workers_are_refused(text):
    assert "Invalid value for '--workers'" in asked("--workers", text)


RAY = ClusterOptions("ray")


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        (ClusterOptions(address="a:1"), {}, "--address is for workers of a cluster; add --engine ray"),
        (ClusterOptions(workers=(1, 1)), {}, "--workers is for workers"),
        (RAY, {"model": "grpc://a:1"}, "--engine ray loads the model on each node, and grpc://a:1 is a service"),
        (RAY, {"input_": "-"}, "INPUT is standard input, which workers cannot read"),
        (RAY, {"input_": "s3://bucket/x.parquet"}, "s3://bucket/x.parquet is in an object store"),
        (RAY, {"threads": 2}, "--threads: with --engine ray each worker has one"),
        (RAY, {"memory": 10}, "--memory is for this process"),
    ],
)
def test_what_does_not_fit_is_refused(options, arguments, message):
    with pytest.raises(ConfigError, match=message):
        options.check(**{"model": "m", "input_": "a.csv", "threads": None, "memory": None} | arguments)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("anomaly_vae.cli.reporting._CLUSTER", ("ray_that_is_not_there",))
    with pytest.raises(ModuleNotFoundError, match="ray_that_is_not_there"):
        RAY.check("m", "a.csv", threads=None, memory=None)


def test_only_tables_have_engines(scorer, tmp_path):
    with pytest.raises(ConfigError, match="--engine ray is for rows of tables; the model scores images"):
        RAY.refuse("the model scores images")
    ClusterOptions().refuse("anything")
    assert ClusterOptions().engine_of("m", scorer, None) is None


def test_workers_get_paths_that_hold_in_other_folders(scorer, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'anomaly_vae[ray]'")
    monkeypatch.chdir(tmp_path)
    assert RAY.engine_of("m", scorer, None)._model == (str(tmp_path / "m"), scorer.bundle.digest, None)
    assert RAY.engine_of("s3://b/m", scorer, None)._model.path == "s3://b/m"
