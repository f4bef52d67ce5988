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
from anomaly_vae.cli.errors import DETAILS, EXIT_FAULT, explain, require_serving

if TYPE_CHECKING:
    from anomaly_vae.service.server import Server


_FILE = click.Path(path_type=Path)
_LOG_FORMAT = "ANOMALY_VAE_LOG_FORMAT"


class _Serve(click.Command):
    """Wrong usage is a line of the log where that is JSON, so that whoever reads it meets nothing else."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments."""
        formats = re.findall(r"--log-format[= ](\S+)", " ".join(args)) or [os.environ.get(_LOG_FORMAT)]
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if formats[-1] != "json":
                raise
            raise click.exceptions.Exit(_log_error(error, details=False)) from error


def _setting(name: str, *field: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option that an environment variable can set as well."""
    variable = f"ANOMALY_VAE_{name.removeprefix('--').replace('-', '_').upper()}"
    return click.option(name, *field, envvar=variable, show_envvar=True, **attributes)


@click.command("serve", cls=_Serve)
@click.argument("model", type=click.Path(path_type=Path), envvar="ANOMALY_VAE_MODEL")
@_setting("--name", help="The model's name to clients.  [default: NAME of models/NAME or models/NAME/3]")
@_setting("--model-version", "version", type=int, help="Its version.  [default: 3 of models/NAME/3, otherwise 1]")
@_setting("--host", default="127.0.0.1", show_default=True, help="Address gRPC listens on.")
@_setting("--port", type=int, default=50051, show_default=True, help="Port of gRPC; 0 takes a free one.")
@_setting("--metrics-host", default="127.0.0.1", show_default=True, help="Address of /metrics, /livez, /readyz.")
@_setting("--metrics-port", type=int, default=9464, show_default=True, help="Port of those; 0 takes a free one.")
@_setting("--insecure-listen", is_flag=True, help="Let gRPC listen beyond loopback, in plaintext.")
@_setting("--tls-cert", type=_FILE, help="Certificate chain of gRPC, PEM: TLS. Replaced files need no restart.")
@_setting("--tls-key", type=_FILE, help="Its private key, PEM.")
@_setting("--tls-client-ca", type=_FILE, help="Authorities of clients, PEM: clients must show a certificate.")
@_setting("--token-file", type=_FILE, help="Tokens of clients, made by `anomaly-vae token`: clients must send one.")
@_setting("--threads", type=int, help="Compute threads.  [default: all cores]")
@_setting("--nice", type=int, default=10, show_default=True, help="How far those let others go first, 0 to 19.")
@_setting("--max-rows", type=int, default=16_384, show_default=True, help="Most rows of a request.")
@_setting("--max-columns", type=int, default=4_096, show_default=True, help="Most named columns of a request.")
@_setting("--max-samples", type=int, default=4_096, show_default=True, help="Most samples a row of a request.")
@_setting("--max-message-bytes", type=int, default=16 * 2**20, show_default=True, help="Most bytes of a request.")
@_setting("--max-queue-rows", type=int, default=262_144, show_default=True, help="Most rows admitted at a time.")
@_setting("--max-queue-bytes", type=int, help="Most bytes of those rows.  [default: 256 MiB, or a request's most]")
@_setting("--max-queue-seconds", type=float, default=60.0, show_default=True, help="Most seconds of work waiting.")
@_setting("--max-calls", type=int, default=1_024, show_default=True, help="Most calls at a time.")
@_setting("--max-streams", type=int, default=256, show_default=True, help="Most calls at a time of one connection.")
@_setting("--reply-timeout", type=float, default=30.0, show_default=True, help="Seconds for reading a reply.")
@_setting("--grace", type=float, default=10.0, show_default=True, help="Seconds for admitted calls after SIGTERM.")
@_setting("--log-format", default="text", metavar="text|json", show_default=True, help="Lines of the log.")
@_setting("--log-level", default="info", metavar="debug|info|warning|error", show_default=True, help="What is logged.")
@_setting("--log-calls", default="failed", metavar="none|failed|all", show_default=True, help="Which calls are logged.")
@_setting("--otlp-endpoint", metavar="URL", help="Collector of OpenTelemetry spans (gRPC); needs the [otel] extra.")
@options.verbose
def command(**settings: Any) -> int:
    """Serve MODEL over gRPC until SIGTERM, SIGHUP or Ctrl-C, with probes and Prometheus metrics over HTTP.

    gRPC: anomaly_vae.v1.ScoringService (Score, ScoreStream, GetModel), the Open Inference Protocol v2, health and
    reflection. HTTP: /metrics, /livez, /readyz.
    At the first signal the server drains: admitted calls are answered, new ones refused; at the second, unless it is
    SIGHUP, it ends at once. The default addresses are this machine's own. The environment variable ANOMALY_VAE_MODEL
    can name MODEL.

    \b
    anomaly-vae serve model &
    anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv
    curl http://127.0.0.1:9464/metrics
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until the service takes them over: an exception in the midst of an import would end as another one.
        signal.signal(number, signal.SIG_DFL)
    try:
        return _serve(settings)
    except Exception as error:  # the outermost frame, as far as the log goes
        if settings["log_format"] != "json":
            raise
        return _log_error(error, details=click.get_current_context().meta.get(DETAILS, False))
    finally:
        logging.shutdown()  # what is said after this comes after it


def _serve(settings: dict[str, Any]) -> int:
    require_serving()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core would print lines of its own beside ours
    from prometheus_client import disable_created_metrics

    from anomaly_vae.service.config import ServeConfig
    from anomaly_vae.service.logs import configure
    from anomaly_vae.service.server import serve

    # When a caller is gone before its reply: an event of every day, counted as cancelled, not a fault with a traceback.
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "ExecuteBatchError" not in record.getMessage())
    disable_created_metrics()  # type: ignore[no-untyped-call]
    config = ServeConfig(**settings)
    configure(config.log_format, config.log_level)
    return serve(config, _announce)


def _log_error(error: Exception, *, details: bool) -> int:
    """Say in the log, as JSON, why nothing is served, and return the exit code."""
    from anomaly_vae.service.logs import configure, event

    text, code = explain(error)
    configure("json", "info")
    name = "fault" if code == EXIT_FAULT else "refused"
    where = error if details or code == EXIT_FAULT else None
    log = logging.getLogger("anomaly_vae.service")
    log.error("%s", text, exc_info=where, extra=event(name, exit_code=code))
    logging.shutdown()
    return code


def _announce(server: Server) -> None:
    """Say on standard output where it listens; not beside JSON, which has it, since both streams may end in one."""
    config = server.config
    if config.log_format == "json":
        return
    host, metrics_host = (f"[{h}]" if ":" in h else h for h in (config.host, config.metrics_host))
    click.echo(
        f"serving {config.model_name} version {config.model_version} on {host}:{server.port}, "
        f"metrics on http://{metrics_host}:{server.metrics_port}/metrics"
    )
