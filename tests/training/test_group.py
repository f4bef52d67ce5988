"""The training of one model in shares gives the model of one process."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from anomaly_vae.training import loop
from anomaly_vae.training.data import Batches, Data
from anomaly_vae.training.group import Group, current_group, group_in_use
from anomaly_vae.training.loop import Evaluation, TrainingLoop
from tests.support.processes import in_threads
from tests.support.training import QUICK_GAUSSIAN, small_vae

ROWS = torch.randn(300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DATA = Data(ROWS, torch.ones_like(ROWS))
VAE = small_vae()


def trained(config, group=None, state=None, change=0.0):
    """Train in float64, where the order of sums changes little; return the weights, the result and all states.

    ``state`` is one to continue from, and ``change`` is added to some weights at the start.
    """
    vae, states = copy.deepcopy(VAE), []
    with torch.no_grad():
        vae.decoder[0].bias.add_(change)
    run = TrainingLoop(vae, DATA, DATA, config, torch.Generator().manual_seed(1), group)
    if state is not None:
        run.restore(copy.deepcopy(state))  # the optimiser uses its tensors
    result = run.run(on_check=lambda: states.append(run.state()))
    return torch.cat([each.detach().reshape(-1) for each in vae.parameters()]), result, states


@pytest.mark.parametrize("changes", [{}, {"trim_fraction": 0.1, "kl_warmup": 0.1, "free_bits": 0.2, "masking": 0.5}])
def test_three_processes_train_the_model_of_one(changes):
    """All draw the same numbers, and the loss is that of the whole batch: only the order of sums differs.

    The batches of 256 rows have shares of 85, 85 and 86.
    """
    config = replace(QUICK_GAUSSIAN, **changes)
    alone, result, states = trained(config)
    for weights, found, others in in_threads(3, lambda group: trained(config, group)):
        torch.testing.assert_close(weights, alone, rtol=0, atol=1e-9)
        assert (found.steps, found.best_step) == (result.steps, result.best_step)
        assert found.held_out.elbo == pytest.approx(result.held_out.elbo, abs=1e-9)
        assert torch.equal(others[-1]["batches"]["order"], states[-1]["batches"]["order"])
        assert torch.equal(others[-1]["generator"], states[-1]["generator"])


def test_decisions_and_first_weights_are_those_of_process_0(monkeypatch):
    """Machines of different kinds round differently; here the differences are large."""
    expected, result, _ = trained(QUICK_GAUSSIAN)
    elbos = itertools.count()

    def fake(*_):
        return Evaluation(-float(next(elbos)), 0.0, 0.0)

    found = in_threads(2, lambda group: trained(QUICK_GAUSSIAN, group, change=group.rank))
    for weights, each, _ in found:
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-9)
        assert each.held_out.elbo == pytest.approx(result.held_out.elbo, abs=1e-9)
    monkeypatch.setattr(loop, "evaluate", fake)
    (_, one, _), (_, other, _) = in_threads(2, lambda group: trained(QUICK_GAUSSIAN, group))
    assert (one.held_out, one.best_step) == (other.held_out, other.best_step)


def test_a_state_of_one_process_is_continued_by_two_and_back():
    """A state has nothing that depends on the number of processes."""
    expected, _, (halfway, _) = trained(QUICK_GAUSSIAN)
    (by_two, _, states), _ = in_threads(2, lambda group: trained(QUICK_GAUSSIAN, group, halfway))
    torch.testing.assert_close(by_two, expected, rtol=0, atol=1e-9)
    assert [state["step"] for state in states] == [100]
    (_, _, (halfway_of_two, _)), _ = in_threads(2, lambda group: trained(QUICK_GAUSSIAN, group))
    torch.testing.assert_close(trained(QUICK_GAUSSIAN, None, halfway_of_two)[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shares_are_all_rows_of_a_batch_in_order(count):
    def batch(group):
        batches = Batches(DATA, torch.Generator().manual_seed(0), group)
        return batches.next().x

    shares = in_threads(count, batch)
    assert torch.equal(torch.cat(shares), batch(None))
    assert {len(share) for share in shares} <= {256 // count, 256 // count + 1}


def test_an_interrupt_of_several_processes_is_raised():
    """It reaches them at different steps, so that there is no model that all of them have."""
    vae = copy.deepcopy(VAE)

    def press(progress):
        raise KeyboardInterrupt

    def run(group):
        training = TrainingLoop(vae, DATA, DATA, QUICK_GAUSSIAN, torch.Generator().manual_seed(1), group)
        return training.run(report=press)

    assert run(None).interrupted
    group = Group()
    group.count = 2
    with pytest.raises(KeyboardInterrupt):
        run(group)


def test_a_group_is_current_within_its_block_only():
    group = Group()
    with group_in_use(group):
        assert current_group() is group
    assert current_group() is not group
    assert current_group().count == 1
