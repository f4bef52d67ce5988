"""Processes as torchrun starts them, but forked, so that they import nothing; and such a group in threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from anomaly_vae.training.group import Group
from anomaly_vae.training.vae import ElboTerms
from tests.support.forked import Forked
from tests.support.ports import fixed_port

__all__ = ["in_threads", "start_processes", "wait_for_all"]


def start_processes(folder, count, *arguments, prepare=None):
    """Start ``anomaly-vae`` in so many processes; ``prepare`` has a callable by rank, which runs in it first."""
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": fixed_port()}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": 1}
    found = []
    for rank in range(count):
        own = {key: str(value) for key, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        found.append(Forked(arguments, folder, os.environ | own, prepare=(prepare or {}).get(rank)))
    return found


def wait_for_all(processes):
    """Return the exit codes, standard outputs and standard errors, by rank."""
    with ThreadPoolExecutor(len(processes)) as threads:
        outputs = list(threads.map(lambda each: each.communicate(timeout=60), processes))
    return [each.returncode for each in processes], [out for out, _ in outputs], [err for _, err in outputs]


class _Thread(Group):
    """A process of a group that is a thread."""

    def __init__(self, rank, count, board, barrier):
        self.rank, self.count, self._board, self._barrier = rank, count, board, barrier

    def everyone(self, value):
        self._barrier.wait()
        self._board[self.rank] = value
        self._barrier.wait()
        return list(self._board)

    def same(self, value):
        return self.everyone(value)[0]

    def align(self, module):
        module.load_state_dict(self.same({name: value.clone() for name, value in module.state_dict().items()}))

    def gather(self, terms, num_rows):  # noqa: ARG002 (of a group)
        every = self.everyone([each.detach() for each in terms])
        every[self.rank] = list(terms)
        return ElboTerms(*(torch.cat(parts) for parts in zip(*every, strict=True)))

    def add_gradients(self, parameters):
        parameters = [each for each in parameters if each.grad is not None]
        for each, parts in zip(
            parameters, zip(*self.everyone([each.grad.clone() for each in parameters]), strict=True), strict=True
        ):
            each.grad = sum(parts[1:], parts[0])


def in_threads(count, run):
    """Call ``run`` with each member of a group, all at the same time; return what it returns, by rank."""
    board, barrier = [None] * count, threading.Barrier(count)

    def one(rank):
        try:
            return run(_Thread(rank, count, board, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))
