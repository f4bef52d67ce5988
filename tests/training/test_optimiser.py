"""The optimiser: weight decay, clipped gradients and the learning rate."""

from __future__ import annotations

import torch

from anomaly_vae.training.optimiser import make_optimiser, take_step
from tests.support.training import small_vae


def test_only_the_networks_have_weight_decay():
    vae = small_vae()
    networks, others = make_optimiser(vae, 10)[0].param_groups
    assert networks["weight_decay"] > 0.0
    assert others["weight_decay"] == 0.0
    assert len(networks["params"]) + len(others["params"]) == len(list(vae.parameters()))


def test_gradients_are_clipped_and_the_learning_rate_rises_and_falls():
    vae = small_vae()
    optimiser, schedule = make_optimiser(vae, 10)
    rates = []
    for _ in range(10):
        for parameter in vae.parameters():
            parameter.grad = torch.full_like(parameter, 1e6)
        rates.append(schedule.get_last_lr()[0])
        take_step(vae, optimiser, schedule)
    norm = torch.cat([each.grad.reshape(-1) for each in vae.parameters()]).norm()
    assert 99.0 < float(norm) < 100.1
    assert rates[0] < max(rates) > rates[-1]
