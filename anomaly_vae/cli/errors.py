"""The one place that turns errors into a line on standard error and an exit code."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import traceback
import warnings
from types import FrameType
from typing import NoReturn

import click

from anomaly_vae.errors import AnomalyVaeError

__all__ = ["EXIT_INTERRUPTED", "EXIT_USAGE", "require_training", "run"]

EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_EXIT_SIGPIPE = 141
_EXIT_SIGTERM = 143

_TRAINING = ("torch", "sklearn", "scipy", "onnx", "matplotlib")


class _Terminated(BaseException):
    pass


def require_training() -> None:
    """Raise ModuleNotFoundError if the [train] extra is not installed; cheaper than importing it."""
    for name in _TRAINING:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run(command: click.Command) -> NoReturn:
    """Run a command to its end and exit with the code that tells how it ended."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)
    try:
        outcome = command.main(standalone_mode=False, prog_name="anomaly-vae")
        sys.stdout.flush()
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except (Exception, KeyboardInterrupt, _Terminated) as error:  # noqa: BLE001 (the outermost frame)
        code = _explain(error)
    sys.exit(code)


def _explain(error: BaseException) -> int:
    """Print one line for the user, and return the exit code."""
    if {"-v", "--verbose"} & set(sys.argv[1:]):
        traceback.print_exception(error)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return _say("interrupted; nothing was written", EXIT_INTERRUPTED)
    if isinstance(error, _Terminated):
        return _say("terminated; nothing was written", _EXIT_SIGTERM)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail again
        return _EXIT_SIGPIPE
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "anomaly-vae"
        return _say(f"{error.format_message()} (see `{path} --help`)", EXIT_USAGE)
    if isinstance(error, AnomalyVaeError):
        return _say(str(error), error.exit_code)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in _TRAINING:
        return _say(
            f"this needs {error.name}; install the training extra: pip install 'anomaly_vae[train]'", EXIT_USAGE
        )
    if isinstance(error, MemoryError):
        return _say("out of memory", EXIT_FAULT)
    if isinstance(error, OSError):
        return _say(f"{error.filename or 'input or output'}: {error.strerror or error}", EXIT_FAULT)
    return _say(f"internal error: {type(error).__name__}: {error}; -v shows where", EXIT_FAULT)


def _say(message: str, code: int) -> int:
    print(f"anomaly-vae: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"anomaly-vae: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise _Terminated
