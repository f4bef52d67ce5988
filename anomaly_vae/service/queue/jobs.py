"""Requests that wait for scores, and the batches that their rows form."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service.callers import Priority
from anomaly_vae.service.queue.cost_model import CostKey
from anomaly_vae.service.served import ExplainOptions, Result, Served

__all__ = ["SHADOW", "BatchKey", "Job", "Outcome", "RowBatch", "Share", "explain_key"]

Outcome = Result | Exception

# The caller of rows that a shadow scores: nobody waits for them, and they are not counted as rows of callers.
SHADOW = "shadow"


class BatchKey(NamedTuple):
    """Rows with the same key may be computed in one batch.

    Attributes:
        served: The model.
        options: What to compute. ``num_samples`` is set, except with ``flag_only``.
    """

    served: Served
    options: ScoreOptions | ExplainOptions

    @property
    def cost(self) -> CostKey:
        """What the time of a row depends on."""
        options = self.options
        if isinstance(options, ExplainOptions):
            samples, work = self.served.scorer.num_samples, self.served.explained_as
            return CostKey(False, False, samples, work, self.served.key)
        num_samples = options.num_samples or self.served.scorer.num_samples
        return CostKey(options.flag_only, options.max_std_error is not None, num_samples, model=self.served.key)


def explain_key(key: BatchKey, top: int) -> BatchKey:
    """Return the key of rows to explain that were scored with another key."""
    return BatchKey(key.served, ExplainOptions(top))


@dataclass(slots=True, eq=False)
class Job:
    """The rows of one request. Times are seconds on the clock of ``time.monotonic``.

    Attributes:
        key: The model and the options.
        rows: Checked rows, (N, D).
        expires: When the caller stops waiting; infinite for never.
        answer: The future that the caller awaits.
        queued_at: When the job was queued.
        caller: Whose job it is, and for which model: callers of one priority share the compute time evenly.
        priority: Its class.
        num_taken: Rows handed to threads.
        num_left: Rows not computed yet.
        parts: What was computed, by the index of the first row.
        seconds_waited: Time until the first row was handed to a thread.
        seconds_computed: Its share of the time of its batches, by rows.
        is_dropped: Whether the caller has stopped waiting.
    """

    key: BatchKey
    rows: FloatArray
    expires: float
    answer: Any
    queued_at: float
    caller: Hashable = None
    priority: Priority = Priority.ONLINE
    num_taken: int = 0
    num_left: int = field(init=False)
    parts: dict[int, Result] = field(default_factory=dict)
    seconds_waited: float = 0.0
    seconds_computed: float = 0.0
    is_dropped: bool = False

    def __post_init__(self) -> None:
        """Start with all rows left."""
        self.num_left = len(self.rows)

    def put(self, start: int, stop: int, outcome: Outcome, seconds: float) -> list[Result]:
        """Store what was computed for rows start to stop. If no rows are left, answer and return all parts in order."""
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
            return []
        self.parts[start] = outcome
        self.num_left -= stop - start
        self.seconds_computed += seconds
        if self.num_left:
            return []
        parts = [self.parts[i] for i in sorted(self.parts)]
        self.answer.set_result(parts)
        return parts

    @property
    def num_waiting(self) -> int:
        """Rows not handed to threads yet."""
        return len(self.rows) - self.num_taken


class Share(NamedTuple):
    """Rows of one job in a batch.

    Attributes:
        job: The job.
        start, stop: The rows' indices in the job.
        rows: The rows. Kept here because a dropped job frees its own.
    """

    job: Job
    start: int
    stop: int
    rows: FloatArray


class RowBatch(NamedTuple):
    """Rows that are computed together.

    Attributes:
        key: The model and the options.
        shares: The rows of each job.
        charged: Predicted seconds, which the callers' accounts were charged when the rows were taken.
        is_short: Whether it has only whole short requests of the online class.
    """

    key: BatchKey
    shares: list[Share]
    charged: float = 0.0
    is_short: bool = False

    @property
    def num_rows(self) -> int:
        """Rows of all jobs."""
        return sum(share.stop - share.start for share in self.shares)

    def rows(self) -> FloatArray:
        """Return the rows of all jobs, one job after the other, (N, D)."""
        parts = [share.rows for share in self.shares]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def compute(self) -> tuple[Result | None, list[Outcome]]:
        """Return the result of the batch, and of each share.

        If the batch fails, each share is computed alone, so that only the faulty ones fail. Then the first result is
        None.
        """
        try:
            whole = self.key.served.compute(self.rows(), self.key.options)
        except Exception as error:  # noqa: BLE001 (whatever it is, its caller's handler reports it)
            if len(self.shares) == 1:
                return None, [error]
            return None, [RowBatch(self.key, [share]).compute()[1][0] for share in self.shares]
        if len(self.shares) == 1:
            return whole, [whole]
        stops = list(itertools.accumulate(share.stop - share.start for share in self.shares))
        return whole, [whole[start:stop] for start, stop in itertools.pairwise([0, *stops])]
