"""Requests that wait for scores, and the batches that are made of them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.served import Work

__all__ = ["Batch", "Job", "Outcome", "Share"]

Outcome = Scores | Flags | Exception


@dataclass(slots=True, eq=False)
class Job:
    """The rows of one request.

    Attributes:
        work: What to compute.
        rows: Checked rows, (N, D).
        expires: When the caller stops waiting, on the clock of :meth:`Turns.take`; infinite for never.
        answer: The future that the caller waits for.
        since: When it was queued.
        caller: Who asks: callers share the machine evenly.
        taken: Rows handed out.
        left: Rows not computed yet.
        parts: What was computed, by the first row.
        waited: Seconds until the first row was handed out.
        computing: Seconds that its share of batches took.
        gone: Whether the caller has stopped waiting.
    """

    work: Work
    rows: FloatArray
    expires: float
    answer: Any
    since: float
    caller: Hashable = None
    taken: int = 0
    left: int = field(init=False)
    parts: dict[int, Scores | Flags] = field(default_factory=dict)
    waited: float = 0.0
    computing: float = 0.0
    gone: bool = False

    def __post_init__(self) -> None:
        """Nothing is computed yet."""
        self.left = len(self.rows)

    def put(self, start: int, stop: int, outcome: Outcome, seconds: float) -> list[Scores | Flags]:
        """Take in what was computed, and answer if that was the last; all parts then, in order, otherwise none."""
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
            return []
        self.parts[start] = outcome
        self.left -= stop - start
        self.computing += seconds
        if self.left:
            return []
        parts = [self.parts[i] for i in sorted(self.parts)]
        self.answer.set_result(parts)
        return parts

    @property
    def waiting(self) -> int:
        """Rows not handed out."""
        return len(self.rows) - self.taken


class Share(NamedTuple):
    """Rows of one job in a batch.

    Attributes:
        job: Whose.
        start, stop: Their places among the rows of the job.
        rows: The rows themselves, kept here because the job lets go of them when it is dropped.
    """

    job: Job
    start: int
    stop: int
    rows: FloatArray


class Batch(NamedTuple):
    """Rows to be computed together.

    Attributes:
        work: What to compute.
        shares: The rows of each job.
        charged: Seconds that their callers were charged with when the rows were handed out.
    """

    work: Work
    shares: list[Share]
    charged: float = 0.0

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return sum(share.stop - share.start for share in self.shares)

    def rows(self) -> FloatArray:
        """The rows one after the other, (N, D)."""
        parts = [share.rows for share in self.shares]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def compute(self) -> tuple[Scores | Flags | None, list[Outcome]]:
        """What came of the batch, and of every share. If one fails, each is computed by itself: others do not fail."""
        try:
            whole = self.work.run(self.rows())
        except Exception as error:  # noqa: BLE001 (a fault of ours, told to whom it concerns)
            if len(self.shares) == 1:
                return None, [error]
            return None, [Batch(self.work, [share]).compute()[1][0] for share in self.shares]
        if len(self.shares) == 1:
            return whole, [whole]
        stops = list(itertools.accumulate(share.stop - share.start for share in self.shares))
        return whole, [whole[start:stop] for start, stop in itertools.pairwise([0, *stops])]
