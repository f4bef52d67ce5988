"""Processes of torchrun, connected by torch: what they exchange, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from anomaly_vae.errors import ConfigError
from anomaly_vae.training import processes
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.fit import fit_model
from anomaly_vae.training.group import Group, LeftToLead, ProcessLost
from anomaly_vae.training.processes import joined, under_torchrun
from anomaly_vae.training.vae import ElboTerms
from tests.support.data import NAMES, make_rows
from tests.support.ports import fixed_port
from tests.support.schemas import infer_schema
from tests.support.training import QUICK


@pytest.fixture
def only_process(monkeypatch):
    """This process is the only one of torchrun, on a machine with 8 cores."""
    values = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": fixed_port()}
    values |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def test_a_group_of_one_exchanges_with_itself(only_process):
    assert under_torchrun()
    with joined() as group:
        assert (group.rank, group.count, group.local_rank, group.is_lead) == (0, 1, 0, True)
        assert group.everyone("a") == ["a"]
        assert group.same({"b": 1}) == {"b": 1}
        kl = torch.ones(3, 2, requires_grad=True)
        terms = ElboTerms(torch.arange(3.0), kl.sum(dim=-1), kl)
        for num_rows in (3, None):
            found = group.gather(terms, num_rows)
            assert torch.equal(found.log_likelihood, terms.log_likelihood)
            assert torch.equal(found.kl, terms.kl)
            found.kl.sum().backward()
        assert torch.equal(kl.grad, torch.full((3, 2), 2.0))
        group.add_gradients([kl, torch.zeros(1)])
        assert torch.equal(kl.grad, torch.full((3, 2), 2.0))
        group.leave_to_lead()
    assert not torch.distributed.is_initialized()


def test_only_process_0_goes_on_when_the_models_are_trained():
    group = processes.Processes.__new__(processes.Processes)
    group.rank = 1
    with pytest.raises(LeftToLead):
        group.leave_to_lead()


@pytest.mark.parametrize(("setting", "threads"), [(None, 2), ("1", 2), ("5", 3)])
def test_processes_of_a_machine_divide_its_cores(monkeypatch, setting, threads):
    """OMP_NUM_THREADS=1 is what torchrun sets; another number is the user's, which torch has read at its start."""
    before = torch.get_num_threads()
    monkeypatch.setattr(processes, "default_threads", lambda: 8)
    if setting is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    try:
        torch.set_num_threads(3)
        processes._share_cores(4)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_exchange_that_fails_is_a_lost_process():
    with pytest.raises(ProcessLost, match="has ended or does not answer"), processes._peers():
        raise RuntimeError("Connection closed by peer")


def in_group(count, local_rank, **changes):
    """Train in a group of so many processes."""
    group, rows = Group(), make_rows(60)
    group.count, group.local_rank = count, local_rank
    config = replace(QUICK, latent_dim=2, hidden=(8,), prior="normal", decoder_variance="learned", **changes)
    return fit_model(
        config, infer_schema(rows, NAMES), rows[:50], rows[50:], Checkpoint(None, resume=False), None, group
    )


@pytest.mark.parametrize(
    ("count", "changes", "text"),
    [
        (51, {}, "51 processes share batches of 50 rows: start 50 processes at most"),
        (2, {"normalisation": "batch"}, "normalisation 'batch' needs all rows of a batch in one process"),
        (2, {"device": "cuda:1"}, "device 'cuda:1' cannot be shared by processes of torchrun"),
        (2, {"device": "cuda"}, "no GPU is left for process 2 of this machine, it has 1: use --nproc-per-node 1"),
    ],
)
def test_what_several_processes_cannot_do(monkeypatch, count, changes, text):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(device_count=lambda: 1))
    with pytest.raises(ConfigError, match=text):
        in_group(count, 1, **changes)


def test_torch_without_distributed(monkeypatch):
    monkeypatch.setattr(processes.dist, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cannot train on several processes"), joined():
        pass
