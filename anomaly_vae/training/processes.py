"""Several processes that torchrun has started, on one machine or more: see :mod:`anomaly_vae.training.group`.

References:
    torchrun, https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import ProcessGroup

from anomaly_vae.density.blocks import default_threads
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.group import Group, LeftToLead, ProcessLost
from anomaly_vae.training.vae import ElboTerms

__all__ = ["Processes", "joined", "under_torchrun"]

_T = TypeVar("_T")

# How long a process waits for others that read the input or calibrate the model. Chosen, not measured: it only bounds
# the wait for a machine that is gone without a word; a process that ends closes its connections, which is noticed.
_LONGEST_WAIT = timedelta(days=1)

# How long a GPU waits for the others in a step, which takes milliseconds. Chosen, not measured: torch's own default.
_LONGEST_STEP = timedelta(minutes=10)


def under_torchrun() -> bool:
    """Return whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """Join the other processes of torchrun within the block.

    Raises:
        ProcessLost: Not all of them have come.
        ConfigError: This torch cannot connect processes.
    """
    if not dist.is_available():
        raise ConfigError("this build of torch cannot train on several processes: start without torchrun")
    with _peers():
        dist.init_process_group("gloo", timeout=_LONGEST_WAIT)
    on_gpus = None
    if torch.cuda.is_available() and dist.is_nccl_available():
        on_gpus = dist.new_group(backend="nccl", timeout=_LONGEST_STEP)
    local, on_machine = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    group = Processes(local, on_gpus)
    _share_cores(on_machine)
    torch.manual_seed(group.rank)  # the channels that dropout drops must not be the same in all shares
    yield group
    dist.destroy_process_group()


def _share_cores(on_machine: int) -> None:
    """Divide the cores among the processes of a machine, unless the user has chosen the threads.

    For several processes torchrun sets OMP_NUM_THREADS to 1 if it is not set, so 1 is no choice of the user.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, default_threads() // on_machine))


class Processes(Group):
    """This process among those of torchrun."""

    def __init__(self, local_rank: int, on_gpus: ProcessGroup | None) -> None:
        """Use the process group that torch has; ``on_gpus`` connects the GPUs, if there are any."""
        self.rank, self.count, self.local_rank = dist.get_rank(), dist.get_world_size(), local_rank
        self._on_gpus = on_gpus

    def everyone(self, value: _T) -> list[_T]:
        """Return the values of all processes, by rank."""
        found: list[_T | None] = [None] * self.count
        with _peers():
            dist.all_gather_object(found, value)
        return cast("list[_T]", found)

    def same(self, value: _T) -> _T:
        """Return the value of process 0."""
        found = [value]
        with _peers():
            dist.broadcast_object_list(found, src=0)
        return found[0]

    def align(self, module: nn.Module) -> None:
        """Give a module the parameters and buffers of process 0."""
        values = [each.detach() for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()]
        flat = torch.cat([each.reshape(-1) for each in values])
        with _peers():
            dist.broadcast(flat, src=0, group=self._group_of(flat))
        _copy_parts(flat, values)

    def gather(self, terms: ElboTerms, num_rows: int | None) -> ElboTerms:
        """Return the terms of a whole batch from those of the shares, in order; gradients reach the own share only."""
        own = torch.cat([terms.log_likelihood[:, None], terms.kl_by_dim], dim=1)
        if num_rows is None:
            counts = self.everyone(len(own))
        else:
            shares = (self.share(num_rows, rank) for rank in range(self.count))
            counts = [share.stop - share.start for share in shares]
        room = max(counts)
        sent = nn.functional.pad(own.detach(), (0, 0, 0, room - len(own)))
        parts = [torch.empty_like(sent) for _ in counts]
        with _peers():
            dist.all_gather(parts, sent, group=self._group_of(sent))
        parts = [part[:count] for part, count in zip(parts, counts, strict=True)]
        parts[self.rank] = own
        every = torch.cat(parts)
        return ElboTerms(every[:, 0], every[:, 1:].sum(dim=-1), every[:, 1:])

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their sums over all processes."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([each.reshape(-1) for each in gradients])
        with _peers():
            dist.all_reduce(flat, group=self._group_of(flat))
        _copy_parts(flat, gradients)

    def leave_to_lead(self) -> None:
        """End what the processes do together; process 0 uses all cores from now on."""
        if not self.is_lead:
            raise LeftToLead
        torch.set_num_threads(default_threads())

    def _group_of(self, values: Tensor) -> ProcessGroup | None:
        """Return the process group for tensors on this device; None is the one for the CPU."""
        return self._on_gpus if values.is_cuda else None


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Raise ProcessLost if the exchange fails. torch raises RuntimeError and subclasses of it."""
    try:
        yield
    except RuntimeError as error:
        text = "another process of this training has ended or does not answer; its messages say why"
        raise ProcessLost(text) from error


def _copy_parts(flat: Tensor, values: Iterable[Tensor]) -> None:
    start = 0
    for each in values:
        each.copy_(flat[start : start + each.numel()].view_as(each))
        start += each.numel()
