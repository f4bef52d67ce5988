"""The options that choose what scores the rows: this process, or the workers of a cluster."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli.reporting import require_ray
from anomaly_vae.errors import ConfigError
from anomaly_vae.remote.address import is_bundle_url, is_url

if TYPE_CHECKING:
    from anomaly_vae.batch.cluster.on_ray import RayEngine
    from anomaly_vae.client import Client
    from anomaly_vae.scorer import Scorer

__all__ = ["ClusterOptions", "cluster_options"]

_WORKERS = re.compile(r"([1-9][0-9]{0,5})(?::([1-9][0-9]{0,5}))?")


@dataclass(frozen=True)
class ClusterOptions:
    """What scores the rows.

    Attributes:
        engine: "local" or "ray".
        address: Of the cluster; None for the default.
        workers: The least and the most workers; None for the default.
    """

    engine: str = "local"
    address: str | None = None
    workers: tuple[int, int] | None = None

    def check(self, model: str, input_: str, *, threads: int | None, memory: int | None) -> None:
        """Compare with the other arguments, before anything is loaded.

        Raises:
            ConfigError: An option does not fit.
            ModuleNotFoundError: The cluster's package is not installed.
        """
        if self.engine == "local":
            for name, value in (("--address", self.address), ("--workers", self.workers)):
                if value is not None:
                    raise ConfigError(f"{name} is for workers of a cluster; add --engine ray, or leave it out")
            return
        if model.startswith(("grpc://", "grpcs://")):
            raise ConfigError(
                f"--engine ray loads the model on each node, and {model} is a service; give a directory or a URL of "
                "storage as MODEL, or leave out --engine"
            )
        if input_ == "-":
            raise ConfigError(
                "--engine ray: INPUT is standard input, which workers cannot read; give the name of a file or folder"
            )
        if is_url(input_):
            raise ConfigError(
                f"--engine ray reads files that each node has under the same path, and {input_} is in an object store; "
                "leave out --engine, or mount the store on each node"
            )
        if threads is not None:
            raise ConfigError("--threads: with --engine ray each worker has one; use --workers")
        if memory is not None:
            raise ConfigError("--memory is for this process; with --engine ray, leave it out")
        require_ray()

    def refuse(self, what: str) -> None:
        """Raise ConfigError if the engine scores only rows of tables; ``what`` says what the model scores."""
        if self.engine != "local":
            raise ConfigError(f"--engine {self.engine} is for rows of tables; {what}, so leave it out")

    def engine_of(self, model: str, scorer: Scorer | Client, verify_key: Path | None) -> RayEngine | None:
        """Return the engine for a model, which workers find under the same path; None for this process."""
        from anomaly_vae.scorer import Scorer

        if self.engine == "local" or not isinstance(scorer, Scorer):
            return None
        from anomaly_vae.batch.cluster.on_ray import RayEngine
        from anomaly_vae.batch.cluster.worker import ModelFile

        path = model if is_bundle_url(model) else str(Path(model).absolute())
        key = None if verify_key is None else verify_key.absolute()
        return RayEngine(ModelFile(path, scorer.bundle.digest, key), address=self.address, workers=self.workers)


class Workers(click.ParamType[tuple[int, int]]):
    """A click type: MIN or MIN:MAX workers."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Take one number, or two with a colon."""
        if isinstance(value, tuple):
            return value
        found = _WORKERS.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no number of workers; expected one such as 8, or two such as 2:16", param, ctx)
        least = int(found[1])
        most = int(found[2] or least)
        if most < least:
            self.fail(f"{value!r}: the second number, the most workers, is less than the first one", param, ctx)
        return least, most


_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="What scores the rows of a table: this process, or the workers of a Ray cluster, which needs the [ray] "
        "extra. The output is the same.",
    ),
    click.option(
        "--address",
        metavar="ADDRESS",
        help="Ray: the cluster, such as 10.0.0.1:6379; local starts one here, which ends with the job.  [default: "
        "RAY_ADDRESS, or local without it]",
    ),
    click.option(
        "--workers",
        type=Workers(),
        metavar="MIN[:MAX]",
        help="Ray: workers, with one CPU each; as many as there is work for, between two numbers.  [default: one per "
        "CPU of the cluster]",
    ),
)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --engine, --address and --workers, as its parameter ``cluster``."""

    @functools.wraps(command)
    def with_cluster(
        *args: Any, engine: str, address: str | None, workers: tuple[int, int] | None, **kwargs: Any
    ) -> Any:
        return command(*args, cluster=ClusterOptions(engine, address, workers), **kwargs)

    for option in reversed(_OPTIONS):
        with_cluster = option(with_cluster)
    return with_cluster
