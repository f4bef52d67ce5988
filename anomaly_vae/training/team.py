"""Train several candidates side by side: one in this process, each of the others in a companion."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack

import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.blocks import default_threads
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.companion import Companion, Job, Outcome
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.fit import FittedModel, fit_model, from_checkpoint
from anomaly_vae.training.group import Group
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.row_source import LazyRows, Rows

__all__ = ["Team", "num_side_by_side"]

# Steps of a training that is worth a process of its own. A step takes 1.5 ms or more, and the import of torch 2 s.
_MIN_STEPS = 1500

# Processes at most. Chosen, not measured: each holds 0.4 GB and a copy of the rows.
_MAX_PROCESSES = 4

# Bytes of training rows above which one process trains all. Chosen, not measured: a companion takes several copies.
_MOST_BYTES = 2**30

Trained = FittedModel | AnomalyVaeError


class Team:
    """This process and its companions."""

    def __init__(
        self,
        schema: Schema,
        train: Rows,
        held_out: FloatArray,
        checkpoint: Checkpoint,
        report_of: Callable[[int], Callable[[Progress], None] | None],
        group: Group | None = None,
    ) -> None:
        """Take what all candidates share; ``report_of`` gives the callback of a candidate by its index.

        A group of several processes trains one candidate after the other.
        """
        self._group = group or Group()
        self._schema, self._train, self._held_out = schema, train, held_out
        self._checkpoint, self._report_of = checkpoint, report_of

    def train(self, configs: Sequence[TrainConfig], first: int) -> Generator[Trained, None, None]:
        """Train the next candidates: the first one, and beside it those for which there is room.

        KeyboardInterrupt ends all trainings, and those that have a model return it.

        Yields:
            For each candidate in order its model, or the error if its training diverged.

        Raises:
            KeyboardInterrupt: Before a candidate had a model.
        """
        count = 1 if self._group.count > 1 else num_side_by_side(configs[first:], self._train.nbytes)
        threads = max(1, torch.get_num_threads() // count)
        with ExitStack() as stack:
            indices = range(first + 1, first + count)
            companions = {i: self._companion(stack, configs[i], i, threads) for i in indices}
            started = [companion for companion in companions.values() if companion is not None]
            own = self._own(configs[first], first, started, threads)
            interrupted = isinstance(own, FittedModel) and own.result.interrupted
            yield own
            for i, companion in companions.items():
                outcome = Outcome() if companion is None else None if interrupted else _wait(companion)
                if outcome is None:
                    interrupted = True
                    for each in started:
                        each.interrupt()
                    outcome = Outcome() if companion is None else companion.wait()
                yield self._result(outcome, configs[i], i, interrupted=interrupted)

    def _companion(self, stack: ExitStack, config: TrainConfig, i: int, threads: int) -> Companion | None:
        """Start a companion; return None if the system allows no more processes."""
        if isinstance(self._train, LazyRows):
            return None  # its size keeps companions away; a process could not be sent what is on disk
        job = Job(config, self._schema, self._train, self._held_out, threads)
        try:
            companion = Companion(job, self._report_of(i))
        except OSError:
            return None
        stack.callback(companion.close)
        return companion

    def _own(self, config: TrainConfig, i: int, companions: Sequence[Companion], threads: int) -> Trained:
        """Train a candidate in this process, and pass on the progress of the others meanwhile."""
        report = self._report_of(i)

        def report_all(progress: Progress) -> None:
            if report:
                report(progress)
            for companion in companions:
                companion.report_so_far()

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return fit_model(
                config, self._schema, self._train, self._held_out, self._checkpoint, report_all, self._group
            )
        except AnomalyVaeError as error:
            return error
        finally:
            torch.set_num_threads(before)

    def _result(self, outcome: Outcome, config: TrainConfig, i: int, *, interrupted: bool) -> Trained:
        """Return the model of a companion; KeyboardInterrupt if an interrupt left none."""
        if outcome.diverged is not None:
            return AnomalyVaeError(outcome.diverged)
        if outcome.model is not None:
            return from_checkpoint(config, self._schema, self._train, self._held_out, outcome.model)
        if interrupted:
            raise KeyboardInterrupt
        # There was no process, or it failed, for example for lack of memory: train in this one.
        return self._own(config, i, (), torch.get_num_threads())


def num_side_by_side(configs: Sequence[TrainConfig], num_bytes: int) -> int:
    """Return how many of the candidates train at the same time, 1 where companions cannot help or would harm.

    Args:
        configs: The candidates.
        num_bytes: Size of the training rows.
    """
    alone = (
        not sys.executable
        or getattr(sys, "frozen", False)  # the executable is the application, not Python
        or os.name == "nt"  # a companion cannot be interrupted there
        or multiprocessing.current_process().name != "MainProcess"  # a worker among others, which use the other cores
        or threading.current_thread() is not threading.main_thread()
        or num_bytes > _MOST_BYTES
        or int(configs[0].max_steps) < _MIN_STEPS
        or configs[0].max_epochs is not None
        or not _on_cpu(configs[0].device)
    )
    return 1 if alone else max(1, min(len(configs), _cores(), _MAX_PROCESSES))


def _cores() -> int:
    """Return the cores to use; torch has fewer threads if the user wants to leave cores to others."""
    return min(default_threads(), torch.get_num_threads())


def _on_cpu(device: str) -> bool:
    return device.startswith("cpu") or (device == "auto" and not torch.cuda.is_available())


def _wait(companion: Companion) -> Outcome | None:
    """Return the outcome; None if the user interrupts the wait."""
    try:
        return companion.wait()
    except KeyboardInterrupt:
        return None
