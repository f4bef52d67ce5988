"""The optimiser of a model, and its learning-rate schedule."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from anomaly_vae.training.vae import VAE

__all__ = ["make_optimiser", "take_step"]

# Peak learning rate of the one-cycle schedule. Measured on 16 ADBench tables: half of it cost 0.02 of the mean average
# precision, because log-variances did not converge within 1,000 steps.
_PEAK_LEARNING_RATE = 6e-3

# AdamW's weight decay. Measured on the same tables: 0.01 and 0.1 gave the same mean AUROC to 0.001.
_WEIGHT_DECAY = 1e-2

# L2 norm at which gradients are clipped. It only limits batches with outliers. Measured on 16 ADBench tables: ordinary
# norms have a median of 1 to 15, and at most 62.
_GRADIENT_LIMIT = 100.0

_IMPORTING = threading.Lock()


def make_optimiser(vae: VAE, max_steps: int) -> tuple[AdamW, OneCycleLR]:
    """Return AdamW for the model's parameters, and its one-cycle schedule; only the networks have weight decay."""
    networks = [*vae.encoder.parameters(), *vae.decoder.parameters()]
    groups: list[dict[str, Any]] = [
        {"params": networks},
        {"params": [*vae.head.parameters(), *vae.prior.parameters()], "weight_decay": 0.0},
    ]
    _import_compiler()
    optimiser = AdamW(groups, lr=_PEAK_LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=True)
    return optimiser, OneCycleLR(optimiser, max_lr=_PEAK_LEARNING_RATE, total_steps=max_steps + 1)


def take_step(vae: VAE, optimiser: AdamW, schedule: OneCycleLR) -> None:
    """Clip the gradients, and change the parameters and the learning rate."""
    torch.nn.utils.clip_grad_norm_(vae.parameters(), _GRADIENT_LIMIT)
    optimiser.step()
    schedule.step()


def _import_compiler() -> None:
    """Import torch's compiler, which torch's optimisers import anyway, without making its cache folder in TMPDIR.

    The import makes the folder named by TORCHINDUCTOR_CACHE_DIR if there is none. The variable is set to torch's own
    folder, which exists, so none is made. Nothing is compiled here.
    """
    name = "TORCHINDUCTOR_CACHE_DIR"
    with _IMPORTING:
        if "torch._dynamo" in sys.modules or name in os.environ:
            return
        os.environ[name] = str(Path(torch.__file__).parent)
        try:
            importlib.import_module("torch._dynamo")
        finally:
            del os.environ[name]  # a later compilation by the user has its usual cache folder
