"""The one place that turns errors into a line on standard error and an exit code."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import sys
import traceback
import warnings
from types import FrameType
from typing import Any, NoReturn

import click

from anomaly_vae.errors import AnomalyVaeError

__all__ = ["DETAILS", "EXIT_FAULT", "EXIT_INTERRUPTED", "explain", "require_serving", "require_training", "run", "warn"]

EXIT_FAULT = 1
_EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# Where the context of a command keeps whether tracebacks were asked for.
DETAILS = "anomaly_vae.details"

_EXIT_SIGPIPE = 141
_EXIT_SIGTERM = 143

# The image of the service has not all of these.
_BASE = ("numpy", "onnxruntime", "pyarrow", "rich", "msgspec")
_TRAINING = ("torch", "sklearn", "scipy", "onnx", "matplotlib")
_GRPC = ("grpc", "grpc_health", "grpc_reflection", "grpc_status", "google.rpc")
_SERVING = (*_GRPC, "prometheus_client", "cryptography", "h11")


class _Terminated(BaseException):
    pass


def require_training() -> None:
    """Raise ModuleNotFoundError if the [train] extra is not installed; cheaper than importing it."""
    _require(_TRAINING)


def require_serving() -> None:
    """Raise ModuleNotFoundError if the [serve] extra is not installed."""
    _require(_SERVING)


def _require(names: tuple[str, ...]) -> None:
    for name in names:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # the package that "google.rpc" would lie in
            found = None
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run(command: click.Command) -> NoReturn:
    """Run a command to its end and exit with the code that tells how it ended."""
    warnings.showwarning = warn
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack letters that a column's name has
    meta: dict[str, Any] = {}
    try:
        with command.make_context("anomaly-vae", sys.argv[1:]) as context:
            meta = context.meta
            outcome = command.invoke(context)
        if sys.stdout:
            sys.stdout.flush()
        code = outcome if isinstance(outcome, int) else 0
    except click.exceptions.Exit as done:  # --help and --version
        code = done.exit_code
    except (Exception, KeyboardInterrupt, _Terminated) as error:  # noqa: BLE001 (the outermost frame)
        code = _report(error, details=meta.get(DETAILS, False))
    if code == EXIT_INTERRUPTED:
        # CPython ends by the signal itself, whatever sys.exit says, if the interrupt once passed through an exec().
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _report(error: BaseException, *, details: bool) -> int:
    """Print one line for the user, after the traceback if asked for, and return the exit code."""
    if details:
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail again
        return _EXIT_SIGPIPE
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return _EXIT_USAGE
    text, code = explain(error)
    print(f"anomaly-vae: error: {text}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user of an error, in one line, and the exit code."""
    message, code = _message_and_code(error)
    return _one_line(message), code


def _message_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "interrupted; no unfinished file is left", EXIT_INTERRUPTED
    if isinstance(error, _Terminated):
        return "terminated; no unfinished file is left", _EXIT_SIGTERM
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "anomaly-vae"
        return f"{error.format_message()} (see `{path} --help`)", _EXIT_USAGE
    if isinstance(error, AnomalyVaeError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error.name or "")):
        return f"this needs {error.name}; install the {extra} extra: pip install 'anomaly_vae[{extra}]'", _EXIT_USAGE
    if isinstance(error, ModuleNotFoundError) and (name := (error.name or "").split(".")[0]) in _BASE:
        text = f"this needs {name}, which is not installed (the service's image leaves it out): pip install anomaly_vae"
        return text, _EXIT_USAGE
    if isinstance(error, MemoryError):
        return "out of memory", EXIT_FAULT
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}", EXIT_FAULT
    return f"internal error: {type(error).__name__}: {error}; -v shows where", EXIT_FAULT


def _extra_of(module: str) -> str | None:
    for extra, names in (("train", _TRAINING), ("serve", _SERVING)):
        if module in names or module.split(".")[0] in names:
            return extra
    return None


def warn(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line; also stands in for ``warnings.showwarning``."""
    print(f"anomaly-vae: warning: {_one_line(str(message))}", file=sys.stderr)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise _Terminated
