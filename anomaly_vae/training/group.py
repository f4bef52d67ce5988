"""The processes that train one model together, as the training sees them; usually it is one, which is all of this.

Every process draws the same random numbers for a whole batch and computes its own share of the rows. What the loss
needs of a row is a few numbers, and all processes exchange those. So each of them computes the loss of the whole batch,
and the gradients of the shares add up to that of one process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from torch import Tensor, nn

from anomaly_vae.training.vae import ElboTerms

__all__ = ["Group", "LeftToLead", "ProcessLost", "current_group", "group_in_use"]

_T = TypeVar("_T")


class ProcessLost(Exception):
    """Another process of the training has ended, or no longer answers."""


class LeftToLead(Exception):
    """Process 0 goes on alone: this process has no more to do than to wait for it."""


class Group:
    """This process alone: it computes all rows and takes all decisions.

    Attributes:
        rank: The number of this process, from 0.
        count: The number of processes.
        local_rank: The number of this process on its machine; None if it may choose its device.
    """

    rank = 0
    count = 1
    local_rank: int | None = None

    @property
    def is_lead(self) -> bool:
        """Whether this process decides, prints and writes."""
        return self.rank == 0

    def share(self, num_rows: int, rank: int | None = None) -> slice:
        """Return which rows of a batch a process computes, by default this one; shares differ by one row at most."""
        rank = self.rank if rank is None else rank
        return slice(num_rows * rank // self.count, num_rows * (rank + 1) // self.count)

    def everyone(self, value: _T) -> list[_T]:
        """Return the values of all processes, by rank."""
        return [value]

    def same(self, value: _T) -> _T:
        """Return the value of process 0."""
        return value

    def align(self, module: nn.Module) -> None:
        """Give a module the parameters and buffers of process 0."""

    def gather(self, terms: ElboTerms, num_rows: int | None) -> ElboTerms:  # noqa: ARG002 (of several processes)
        """Return the terms of a whole batch from those of the shares, in order; gradients reach the own share only.

        Args:
            terms: Of the rows of this process.
            num_rows: Rows in the batch; None if a process may have left out rows of its share.
        """
        return terms

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their sums over all processes."""

    def leave_to_lead(self) -> None:
        """End what the processes do together; process 0 may use all cores from now on.

        Raises:
            LeftToLead: In all processes but process 0.
        """


_CURRENT: ContextVar[Group] = ContextVar("group")


def current_group() -> Group:
    """Return the group that trainings of this context belong to."""
    return _CURRENT.get(None) or Group()


@contextlib.contextmanager
def group_in_use(group: Group) -> Iterator[None]:
    """Let the trainings within the block belong to a group."""
    token = _CURRENT.set(group)
    try:
        yield
    finally:
        _CURRENT.reset(token)
