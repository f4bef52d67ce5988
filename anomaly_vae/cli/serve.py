"""``anomaly-vae serve``."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.reporting import DETAILS, EXIT_FAULT, explain, require_serving
from anomaly_vae.service.settings import ServeConfig, Setting, settings

if TYPE_CHECKING:
    from anomaly_vae.service.server import Server

_LOG_FORMAT = "ANOMALY_VAE_LOG_FORMAT"


class _Serve(click.Command):
    """Reports wrong usage as a JSON line if the log is JSON, so that the reader of the log gets only JSON."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments."""
        formats = re.findall(r"--log-format[= ](\S+)", " ".join(args)) or [os.environ.get(_LOG_FORMAT)]
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if formats[-1] != "json":
                raise
            raise click.exceptions.Exit(_log_error(error, details=False)) from error


def _with_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add an option for every setting. The environment variable ANOMALY_VAE_NAME sets option --name as well."""
    for setting in reversed(settings()):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Callable[..., int]], Callable[..., int]]:
    option = setting.option
    name = option.flag or setting.field.replace("_", "-")
    help_ = option.help if option.shown is None else f"{option.help}  [default: {option.shown}]"
    return click.option(
        f"--{name}",
        setting.field,
        envvar=f"ANOMALY_VAE_{name.replace('-', '_').upper()}",
        show_envvar=True,
        show_default=setting.type is not bool,
        type=click.Path(path_type=Path) if setting.type is Path else setting.type,
        is_flag=setting.type is bool,
        default=setting.default,
        metavar=option.metavar or "|".join(option.choices) or None,
        help=help_,
    )


@click.command("serve", cls=_Serve)
@click.argument("model", type=click.Path(path_type=Path), envvar="ANOMALY_VAE_MODEL")
@_with_options
@options.verbose
def command(**values: Any) -> int:
    """Serve MODEL over gRPC until SIGTERM, SIGHUP or Ctrl-C, with probes and Prometheus metrics over HTTP.

    gRPC: anomaly_vae.v1.ScoringService (Score, ScoreStream, GetModel), the Open Inference Protocol v2, health and
    reflection. HTTP: /metrics, /livez, /readyz.
    At the first signal the server drains: it answers admitted calls and refuses new ones. A second SIGTERM or Ctrl-C
    ends it at once. By default it listens on loopback only. The environment variable ANOMALY_VAE_MODEL can name MODEL.

    \b
    anomaly-vae serve model &
    anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv
    curl http://127.0.0.1:9464/metrics
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until the service handles them: an exception raised during an import would end as another exception.
        signal.signal(number, signal.SIG_DFL)
    try:
        return _serve(values)
    except Exception as error:  # the outermost frame that can still log
        if values["log_format"] != "json":
            raise
        return _log_error(error, details=click.get_current_context().meta.get(DETAILS, False))
    finally:
        logging.shutdown()  # writes the log before anything else goes to standard error


def _serve(values: dict[str, Any]) -> int:
    require_serving()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would mix its own lines into the log
    from prometheus_client import disable_created_metrics

    from anomaly_vae.service.server import serve
    from anomaly_vae.service.telemetry.logs import configure

    # gRPC logs it as a failure when a caller is gone before its reply; it is common, and counted as cancelled.
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "ExecuteBatchError" not in record.getMessage())
    disable_created_metrics()  # type: ignore[no-untyped-call]
    config = ServeConfig(**values)
    configure(config.log_format, config.log_level)
    return serve(config, _announce)


def _log_error(error: Exception, *, details: bool) -> int:
    """Log as JSON why the service did not start, and return the exit code."""
    from anomaly_vae.service.telemetry.logs import configure, event

    text, code = explain(error)
    configure("json", "info")
    name = "fault" if code == EXIT_FAULT else "refused"
    where = error if details or code == EXIT_FAULT else None
    log = logging.getLogger("anomaly_vae.service")
    log.error("%s", text, exc_info=where, extra=event(name, exit_code=code))
    logging.shutdown()
    return code


def _announce(server: Server) -> None:
    """Print the addresses on standard output, unless the log is JSON.

    The log has them too. A collector may read both streams as one, and a line of text among the JSON would break it.
    """
    config = server.config
    if config.log_format == "json":
        return
    host, metrics_host = (f"[{h}]" if ":" in h else h for h in (config.host, config.metrics_host))
    click.echo(
        f"serving {config.model_name} version {config.model_version} on {host}:{server.port}, "
        f"metrics on http://{metrics_host}:{server.metrics_port}/metrics"
    )
