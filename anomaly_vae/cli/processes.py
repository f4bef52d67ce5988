"""``anomaly-vae train`` under torchrun: all processes train, and process 0 speaks, calibrates and writes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anomaly_vae.cli.reporting import EXIT_FAULT, explain
from anomaly_vae.errors import AnomalyVaeError, ConfigError
from anomaly_vae.training.group import Group, LeftToLead, ProcessLost, group_in_use
from anomaly_vae.training.processes import joined, under_torchrun

__all__ = ["refuse_stdin", "together", "train_in_group"]

_T = TypeVar("_T")


def train_in_group(train: Callable[[Group], int]) -> int:
    """Run a training in the group of this process, and return its exit code.

    A process that fails closes its connections, so that the others fail at their next exchange with it.

    Raises:
        AnomalyVaeError: In process 0, that another one has ended.
        SystemExit: In other processes, that they or another one failed.
    """
    if not under_torchrun():
        return train(Group())
    try:
        with joined() as group, group_in_use(group):
            return _lead(group, train) if group.is_lead else _follow(group, train)
    except ProcessLost as error:
        raise AnomalyVaeError(str(error)) from error


def _lead(group: Group, train: Callable[[Group], int]) -> int:
    code = train(group)
    with contextlib.suppress(ProcessLost):  # the model is written all the same
        group.same(code)
    return code


def _follow(group: Group, train: Callable[[Group], int]) -> int:
    """Train quietly, and wait for process 0; print only an error that no other process prints."""
    try:
        with (
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            with contextlib.suppress(LeftToLead):
                train(group)
            return group.same(EXIT_FAULT)
    except SystemExit:
        raise
    except BaseException as error:
        text, code = explain(error)
        if isinstance(error, Exception) and not isinstance(error, ProcessLost):
            print(f"anomaly-vae: error: process {group.rank} of {group.count}: {text}", file=sys.stderr)
        raise SystemExit(code) from error


def together(group: Group, prepare: Callable[[], _T]) -> _T:
    """Return what a function returns in each process; if it fails in one, all of them end, and process 0 says why."""
    failure: Exception | None = None
    try:
        value = prepare()
    except Exception as error:  # noqa: BLE001 (it is raised below)
        failure = error
    faults = group.everyone(None if failure is None else explain(failure))
    for rank, fault in enumerate(faults):
        if fault is None:
            continue
        text, code = fault
        if not group.is_lead:
            with contextlib.suppress(ProcessLost):  # torchrun ends the others when one ends: let process 0 speak first
                group.same(None)
            raise SystemExit(code)
        if failure is not None:
            raise failure
        remote = AnomalyVaeError(f"process {rank} of {group.count}: {text}")
        remote.exit_code = code
        raise remote
    return value


def refuse_stdin(group: Group, input_: str) -> None:
    """Raise ConfigError if several processes would read the same standard input."""
    if input_ == "-" and group.local_rank is not None:
        raise ConfigError("INPUT - is the standard input of one process; processes of torchrun need a file")
