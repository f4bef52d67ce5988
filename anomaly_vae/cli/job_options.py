"""The options of a long batch job: going on after a stop, files that cannot be read, memory."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from anomaly_vae.errors import ConfigError

__all__ = ["JobOptions", "job_options", "refuse_early"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?", re.IGNORECASE)


@dataclass(frozen=True)
class JobOptions:
    """How a batch job behaves.

    Attributes:
        resume: Whether it goes on with an unfinished job.
        skips: Whether files that cannot be read are left out.
        memory: Bytes that the process may take, about; None for what fast scoring needs.
    """

    resume: bool = False
    skips: bool = False
    memory: int | None = None

    def refuse(self, what: str) -> None:
        """Raise ConfigError if an option was given although the job has no such parts."""
        for name, is_given in (
            ("--resume", self.resume),
            ("--on-error skip", self.skips),
            ("--memory", self.memory is not None),
        ):
            if is_given:
                raise ConfigError(f"{name} is for rows of tables; {what}")


class Size(click.ParamType[int]):
    """A click type: bytes, such as 500MB or 2GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Take a number with a unit."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no size; expected bytes with a unit, such as 500MB or 2GiB", param, ctx)
        return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


_OPTIONS = (
    click.option(
        "--resume",
        is_flag=True,
        help="Go on with a job that was stopped; the output is that of a job that was not. Without one, start.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="A file of INPUT that is damaged or has other columns ends the job; or it is left out, the others are "
        "scored, and the exit status is 2.",
    ),
    click.option(
        "--memory",
        type=Size(),
        metavar="SIZE",
        help="Memory that the process may take, about, such as 500MB.  [default: about 500 MB with 30 columns]",
    ),
)


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --resume, --on-error and --memory, as its parameter ``job``."""

    @functools.wraps(command)
    def with_job(*args: Any, resume: bool, on_error: str, memory: int | None, **kwargs: Any) -> Any:
        return command(*args, job=JobOptions(resume, on_error == "skip", memory), **kwargs)

    for option in reversed(_OPTIONS):
        with_job = option(with_job)
    return with_job


def refuse_early(output: str, input_: str, *, overwrite: bool, resume: bool) -> None:
    """Raise ConfigError if an output cannot be written, as far as can be known before INPUT is opened."""
    from anomaly_vae.batch.targets import is_data_set
    from anomaly_vae.remote.address import is_url
    from anomaly_vae.storage import refuse_existing, refuse_file
    from anomaly_vae.table import check_ending
    from anomaly_vae.table.sources.discovery import names_many

    if output == "-":
        return
    may_exist = overwrite or resume
    has_many_files = names_many(input_)
    if is_url(output):
        name = output.partition("?")[0]
        if not is_data_set(name, has_many_files=has_many_files):
            check_ending(name)
        return
    if is_data_set(output, has_many_files=has_many_files):
        refuse_existing(Path(output), overwrite=may_exist)
    else:
        refuse_file(check_ending(output), overwrite=may_exist)
