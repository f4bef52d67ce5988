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
from anomaly_vae.cli.serve_config import as_toml, log_format_of, read_config
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.remote.address import is_url
from anomaly_vae.service.settings import ServeConfig, Setting, settings

if TYPE_CHECKING:
    from anomaly_vae.service.server import Server
    from anomaly_vae.service.supervisor.supervisor import Supervisor

# Headings of --help, by the name of the first option below each.
_GROUPS = {
    "config": "Configuration",
    "name": "Models",
    "workers": "Processes and addresses",
    "insecure_listen": "TLS and tokens",
    "threads": "Compute threads and limits",
    "max_connection_age": "Connections, streams and the end",
    "log_format": "Log and traces",
    "verbose": "Other options",
}

_LOG_FORMAT, _CONFIG = "ANOMALY_VAE_LOG_FORMAT", "ANOMALY_VAE_CONFIG"


class _PathOrUrl(options.ModelPath):
    """A click type: the directory of models, or a URL, which a path cannot hold."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path, or the text of a URL."""
        text = str(super().convert(value, param, ctx))
        return text if is_url(text) else Path(text)


class _Serve(click.Command):
    """Reports wrong usage as a JSON line if the log is JSON, so that the reader of the log gets only JSON.

    Its options are shown in groups.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below the headings of their groups."""
        groups: list[tuple[str, list[tuple[str, str]]]] = []
        for parameter in self.get_params(ctx):
            if parameter.name in _GROUPS:
                groups.append((_GROUPS[parameter.name], []))
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                groups[-1][1].append(record)
        for heading, records in groups:
            with formatter.section(heading):
                formatter.write_dl(records)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments."""
        line = " ".join(args)  # click empties the list
        try:
            return super().make_context(info_name, args, parent, **extra)
        except (click.UsageError, AnomalyVaeError) as error:
            if _log_format(line) != "json":
                raise
            raise click.exceptions.Exit(_log_error(error, details=False)) from error


def _log_format(line: str) -> str | None:
    """Return the format of the log although the arguments are wrong."""
    formats = re.findall(r"--log-format[= ](\S+)", line) or [os.environ.get(_LOG_FORMAT)]
    files = re.findall(r"--config[= ](\S+)", line) or [os.environ.get(_CONFIG)]
    return formats[-1] or (log_format_of(Path(files[-1])) if files[-1] else None)


def _take_defaults(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    """Let the values of the configuration file be the defaults of the other options."""
    if path is not None:
        context.default_map = read_config(path)


def _with_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add an option for every setting. The environment variable ANOMALY_VAE_NAME sets option --name as well."""
    for setting in reversed(settings()):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Callable[..., int]], Callable[..., int]]:
    option = setting.option
    is_list = setting.type is tuple
    name = option.flag or setting.field.replace("_", "-")
    help_ = option.help if option.shown is None else f"{option.help}  [default: {option.shown}]"
    return click.option(
        f"--{name}",
        setting.field,
        envvar=f"ANOMALY_VAE_{name.replace('-', '_').upper()}",
        show_envvar=True,
        show_default=setting.type is not bool,
        type=click.Path(path_type=Path) if setting.type is Path else str if is_list else setting.type,
        multiple=is_list,
        is_flag=setting.type is bool,
        default=setting.default,
        metavar=option.metavar or "|".join(option.choices) or None,
        help=help_,
    )


@click.command("serve", cls=_Serve)
@click.argument("model", type=_PathOrUrl(), envvar="ANOMALY_VAE_MODEL")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=_CONFIG,
    show_envvar=True,
    is_eager=True,  # before the options whose defaults it sets
    expose_value=False,
    callback=_take_defaults,
    help='TOML file with values of these options: port = 50051, tls_cert = "cert.pem", model = "model".',
)
@click.option("--print-config", is_flag=True, help="Print all settings as such a file, and exit.")
@_with_options
@options.verbose
def command(print_config: bool, **values: Any) -> int:
    """Serve MODEL over gRPC until SIGTERM or Ctrl-C, with probes and Prometheus metrics over HTTP.

    MODEL is a bundle, a folder of its versions (fraud/1, fraud/2, ...), or a folder of such folders. New versions are
    found while it serves, at SIGHUP at once.

    gRPC: anomaly_vae.v1.ScoringService (Score, ScoreStream, GetModel), the Open Inference Protocol v2, health and
    reflection. HTTP: /metrics, /livez, /readyz; with --http-port also the Open Inference Protocol, as JSON.
    At the first signal the server drains: it answers admitted calls and refuses new ones. A second SIGTERM or Ctrl-C
    ends it at once. With --workers it restarts workers that die, and SIGUSR2 replaces them one after the other.
    By default it listens on loopback only. The environment variable ANOMALY_VAE_MODEL can name MODEL.
    Options win over environment variables, and these over the file of --config.

    \b
    anomaly-vae serve model &
    anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv
    curl http://127.0.0.1:9464/metrics

    \b
    anomaly-vae serve model --max-rows 4096 --print-config > serve.toml
    anomaly-vae serve --config serve.toml
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    if print_config:
        click.echo(as_toml(ServeConfig(**values)), nl=False)
        return 0
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

    from anomaly_vae.service.telemetry.logs import configure

    # gRPC logs it as a failure when a caller is gone before its reply; it is common, and counted as cancelled.
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "ExecuteBatchError" not in record.getMessage())
    disable_created_metrics()  # type: ignore[no-untyped-call]
    config = ServeConfig(**values)
    configure(config.log_format, config.log_level)
    if config.workers > 1:
        from anomaly_vae.service.supervisor.supervisor import supervise

        return supervise(config, _announce)
    from anomaly_vae.service.server import serve

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


def _announce(server: Server | Supervisor) -> None:
    """Print the addresses on standard output, unless the log is JSON.

    The log has them too. A collector may read both streams as one, and a line of text among the JSON would break it.
    """
    config = server.config
    if config.log_format == "json":
        return
    host, metrics_host = (f"[{h}]" if ":" in h else h for h in (config.host, config.metrics_host))
    rest = ""
    if server.http_port is not None:
        http_host = f"[{config.http_host}]" if ":" in config.http_host else config.http_host
        rest = f", HTTP on {'http' if config.tls_cert is None else 'https'}://{http_host}:{server.http_port}/v2"
    models = ", ".join(f"{name} version {version}" for name, version in server.served)
    click.echo(
        f"serving {models} on {host}:{server.port}{rest}, "
        f"metrics on http://{metrics_host}:{server.metrics_port}/metrics"
    )
