"""Errors and warnings of the command line: one line on standard error, and an exit code."""

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
from click.shell_completion import shell_complete

from anomaly_vae.errors import AnomalyVaeError

__all__ = [
    "DETAILS",
    "EXIT_FAULT",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "explain",
    "printable",
    "require_ray",
    "require_serving",
    "require_signing",
    "require_training",
    "run",
    "warn",
]

EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + the number of SIGINT, as shells report it
# Key in a click context's ``meta``: whether to print tracebacks (--verbose).
DETAILS = "anomaly_vae.details"

_EXIT_SIGPIPE = 141  # 128 + the number of the signal, too
_EXIT_SIGTERM = 143

# The name of the program, and the variable by which a shell asks it to complete an argument.
_PROGRAM = "anomaly-vae"
_COMPLETE = "_ANOMALY_VAE_COMPLETE"

# Packages of a plain installation. The container image of the service leaves some of them out.
_BASE = ("numpy", "onnxruntime", "pyarrow", "rich", "msgspec", "jinja2", "markupsafe")
_TRAINING = ("torch", "sklearn", "scipy", "onnx", "matplotlib")
_SIGNING = ("model_signing", "OpenSSL")
_CLUSTER = ("ray", "pandas")
_GRPC = ("grpc", "grpc_health", "grpc_reflection", "grpc_status", "google.rpc")
_SERVING = (*_GRPC, "prometheus_client", "cryptography", "h11")


class _Terminated(BaseException):
    pass


def require_training() -> None:
    """Raise ModuleNotFoundError if the [train] extra is not installed. Imports nothing: torch takes seconds."""
    _require(_TRAINING)


def require_serving() -> None:
    """Raise ModuleNotFoundError if the [serve] extra is not installed."""
    _require(_SERVING)


def require_signing() -> None:
    """Raise ModuleNotFoundError if the [sign] extra is not installed."""
    _require(_SIGNING)


def require_ray() -> None:
    """Raise ModuleNotFoundError if the [ray] extra is not installed."""
    _require(_CLUSTER)


def _require(names: tuple[str, ...]) -> None:
    for name in names:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # "google", the parent package of "google.rpc"
            found = None
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run(command: click.Command) -> NoReturn:
    """Run a command and exit with its exit code; report an error in one line.

    If a shell asks for completions, print them instead.
    """
    if request := os.environ.get(_COMPLETE):
        sys.exit(shell_complete(command, {}, _PROGRAM, _COMPLETE, request))
    warnings.showwarning = warn
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # column names may have letters that the terminal's encoding lacks
    meta: dict[str, Any] = {}
    try:
        with command.make_context(_PROGRAM, sys.argv[1:]) as context:
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
        # After an interrupt inside exec(), CPython ends by the signal, even if sys.exit gets another code.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _report(error: BaseException, *, details: bool) -> int:
    """Print the error in one line, after its traceback if ``details``, and return the exit code."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, (KeyboardInterrupt, _Terminated)):
        error = error.__cause__  # Python 3.11 wraps what comes while a class is made, such as during an import
    if details:
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail again
        return _EXIT_SIGPIPE
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    text, code = explain(error)
    print(f"anomaly-vae: error: {text}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """Return the text for an error, in one line, and the exit code."""
    message, code = _message_and_code(error)
    return _one_line("; ".join([message, *getattr(error, "__notes__", [])])), code


def _message_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "interrupted; no unfinished file is left", EXIT_INTERRUPTED
    if isinstance(error, _Terminated):
        return "terminated; no unfinished file is left", _EXIT_SIGTERM
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else _PROGRAM
        return f"{error.format_message()} (see `{path} --help`)", EXIT_USAGE
    if isinstance(error, AnomalyVaeError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error.name or "")):
        return f"this needs {error.name}; install the {extra} extra: pip install 'anomaly_vae[{extra}]'", EXIT_USAGE
    if isinstance(error, ModuleNotFoundError) and (name := (error.name or "").split(".")[0]) in _BASE:
        text = f"this needs {name}, which is not installed (the service's image leaves it out): pip install anomaly_vae"
        return text, EXIT_USAGE
    if isinstance(error, MemoryError):
        return "out of memory", EXIT_FAULT
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}", EXIT_FAULT
    return f"internal error: {type(error).__name__}: {error}; -v shows where", EXIT_FAULT


def _extra_of(module: str) -> str | None:
    for extra, names in (("train", _TRAINING), ("serve", _SERVING), ("sign", _SIGNING), ("ray", _CLUSTER)):
        if module in names or module.split(".")[0] in names:
            return extra
    return None


def warn(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line. The signature also fits ``warnings.showwarning``."""
    print(f"anomaly-vae: warning: {_one_line(str(message))}", file=sys.stderr)


def printable(text: str) -> str:
    """Return a text that may come from a file, without characters that control a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise _Terminated
