"""The optimisation loop: AdamW on the negative ELBO, early stopping on the held-out ELBO, best weights kept."""

from __future__ import annotations

import copy
import importlib
import math
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anomaly_vae.config import TrainConfig
from anomaly_vae.training.data import BATCH, Batches, Data, hide_cells
from anomaly_vae.training.objective import kl_weight, negative_elbo, trimmed
from anomaly_vae.training.vae import VAE

__all__ = ["FitResult", "HeldOut", "Progress", "Run", "evaluate"]

# Peak of the one-cycle rate: with half of it the logarithms of variances do not arrive in 1,000 steps, which over 16
# tables cost 0.02 of mean average precision. The weight decay hardly matters (0.01 and 0.1 agree to 0.001).
_PEAK_RATE = 6e-3
_WEIGHT_DECAY = 1e-2
# A guard against single batches of far rows, above the norms of ordinary ones.
_GRADIENT_LIMIT = 100.0
_CHECK_EVERY = 50
# Share of all steps without a better held-out ELBO after which a run ends.
_PATIENCE = 0.25
# Share of the held-out rows, the least likely ones, that have no say: one stray row must not decide which step is best.
_STRAY = 0.02
# A check costs at most as much as a few steps, and draws more noise where rows are few.
_HELD_OUT_ROWS = 1024
_HELD_OUT_PAIRS = 1024
_IMPORTING = threading.Lock()


class HeldOut(NamedTuple):
    """Means over the held-out rows, nats in model units."""

    elbo: float
    kl: float
    log_likelihood: float


class Progress(NamedTuple):
    """What a progress display is told, at every check of the held-out rows."""

    step: int
    max_steps: int
    loss: float
    held_out: HeldOut
    best_elbo: float


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Where the run ended; the model holds the best weights."""

    steps: int
    best_step: int
    held_out: HeldOut
    interrupted: bool


class Run:
    """A training run that can be told to go on from what :meth:`state` said earlier, to the same end."""

    def __init__(self, vae: VAE, train: Data, held_out: Data, config: TrainConfig, generator: torch.Generator) -> None:
        """Get ready for the first step.

        Args:
            vae: The model, on the device of the rows; trained in place.
            train, held_out: Rows in model units.
            config: Steps, warm-up, beta and the like.
            generator: Source of the order of rows and of the noise, on the same device.
        """
        self._vae, self._held_out, self._config, self._generator = vae, held_out, config, generator
        self._max_steps = _steps(config, len(train.x))
        self._warmup = round(config.kl_warmup * self._max_steps)
        networks = [*vae.encoder.parameters(), *vae.decoder.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": networks},
            {"params": list(vae.head.parameters()), "weight_decay": 0.0},
        ]
        _import_compiler()
        self._optimiser = torch.optim.AdamW(groups, lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY, fused=True)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, max_lr=_PEAK_RATE, total_steps=self._max_steps + 1
        )
        self._noise = _held_out_noise(vae, held_out, generator)
        self._batches = Batches(train, generator)
        self._columns = torch.as_tensor(vae.head.layout.column_of_feature, device=train.x.device)
        self._best, self._best_step = HeldOut(-math.inf, math.nan, math.nan), 0
        self._best_state = copy.deepcopy(vae.state_dict())
        self._step = 0

    def finish(
        self,
        report: Callable[[Progress], None] | None = None,
        on_check: Callable[[], None] | None = None,
    ) -> FitResult:
        """Take the steps that are left, and leave the weights with the best held-out ELBO in the model.

        KeyboardInterrupt ends the run early and keeps the best weights so far; before the first check it is passed on.

        Args:
            report: Told how it goes at every check of the held-out rows.
            on_check: Called after every check, where :meth:`state` may be asked for.
        """
        interrupted = False
        try:
            # A call, because CPython 3.11 does not protect the jump back of a loop that a try block begins with.
            self._take_steps(report, on_check)
        except KeyboardInterrupt:
            if self._best_step == 0:
                raise
            interrupted = True
        if not math.isfinite(self._best.elbo):
            raise FloatingPointError(f"the held-out ELBO is {self._best.elbo} after {self._step} steps")
        self._vae.load_state_dict(self._best_state)
        return FitResult(steps=self._step, best_step=self._best_step, held_out=self._best, interrupted=interrupted)

    def _take_steps(self, report: Callable[[Progress], None] | None, on_check: Callable[[], None] | None) -> None:
        loss_sum, steps = torch.zeros((), device=self._held_out.x.device), 0
        while self._step < self._max_steps and not self._has_stalled():
            self._step += 1
            loss_sum += self._take_step()
            steps += 1
            if self._step % _CHECK_EVERY and self._step != self._max_steps:
                continue
            now = self._check()
            if report:
                report(Progress(self._step, self._max_steps, float(loss_sum) / steps, now, self._best.elbo))
            loss_sum.zero_()
            steps = 0
            if on_check:
                on_check()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on: tensors, numbers and lists."""
        return {
            "step": self._step,
            "best": list(self._best),
            "best_step": self._best_step,
            "best_state": self._best_state,
            "model": copy.deepcopy(self._vae.state_dict()),
            "optimiser": copy.deepcopy(self._optimiser.state_dict()),
            "schedule": dict(self._schedule.state_dict()),
            "generator": self._generator.get_state(),
            "batches": self._batches.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken."""
        self._step, self._best_step = state["step"], state["best_step"]
        self._best, self._best_state = HeldOut(*state["best"]), state["best_state"]
        self._vae.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        self._batches.restore(state["batches"])

    def _has_stalled(self) -> bool:
        at_check = self._step % _CHECK_EVERY == 0
        return at_check and self._step > self._warmup and self._step - self._best_step >= _PATIENCE * self._max_steps

    def _is_masked(self) -> bool:
        share = self._config.masking
        return int(self._step * share) > int((self._step - 1) * share)

    def _take_step(self) -> Tensor:
        vae, config = self._vae, self._config
        data, masked = self._batches.next(), self._is_masked()
        if masked:
            data = hide_cells(data, self._columns, self._generator)
        noise = torch.randn(len(data.x), vae.latent_dim, generator=self._generator, device=data.x.device)
        terms = vae.elbo_terms(*data, noise)
        if self._step > self._warmup:  # before, the model does not know yet which rows are odd
            terms = trimmed(terms, config.trim_fraction)
        loss = negative_elbo(terms, kl_weight(self._step, self._warmup, config.beta), config.free_bits)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if masked:  # for the encoder's sake only: fewer cells teach p(x|z) less
            for parameter in (*vae.decoder.parameters(), *vae.head.parameters()):
                parameter.grad = None
        torch.nn.utils.clip_grad_norm_(vae.parameters(), _GRADIENT_LIMIT)
        self._optimiser.step()
        self._schedule.step()
        return loss.detach()

    def _check(self) -> HeldOut:
        now = evaluate(self._vae, self._held_out, self._noise, max(self._config.trim_fraction, _STRAY))
        if now.elbo > self._best.elbo:
            self._best, self._best_step = now, self._step
            self._best_state = copy.deepcopy(self._vae.state_dict())
        return now


def _import_compiler() -> None:
    """Import torch's compiler, as its optimisers do, but without the folder that it makes in TMPDIR as it is imported.

    Nothing is compiled here. The folder of torch itself stands in for that one: it exists, so none is made.
    """
    name = "TORCHINDUCTOR_CACHE_DIR"
    with _IMPORTING:
        if "torch._dynamo" in sys.modules or name in os.environ:
            return
        os.environ[name] = str(Path(torch.__file__).parent)
        try:
            importlib.import_module("torch._dynamo")
        finally:
            del os.environ[name]  # what a user compiles later goes where it always does


@torch.no_grad()
def evaluate(vae: VAE, data: Data, noise: Tensor, trim_fraction: float = 0.0) -> HeldOut:
    """Mean ELBO (beta = 1) of rows at fixed noise (M, N, L)."""
    num_rows = noise.shape[1]
    x, mask = (values[:num_rows].repeat(len(noise), 1) for values in data)
    terms = trimmed(vae.elbo_terms(x, mask, noise.flatten(0, 1)), trim_fraction)
    log_likelihood, kl = float(terms.log_likelihood.double().mean()), float(terms.kl.double().mean())
    return HeldOut(log_likelihood - kl, kl, log_likelihood)


def _held_out_noise(vae: VAE, held_out: Data, generator: torch.Generator) -> Tensor:
    """Noise drawn once, more of it for few rows, so that checks compare weights and not luck."""
    rows = min(len(held_out.x), _HELD_OUT_ROWS)
    draws = min(64, max(1, _HELD_OUT_PAIRS // rows))
    return torch.randn(draws, rows, vae.latent_dim, generator=generator, device=held_out.x.device)


def _steps(config: TrainConfig, num_rows: int) -> int:
    max_steps = int(config.max_steps)
    if config.max_epochs is None:
        return max_steps
    return min(max_steps, config.max_epochs * max(1, num_rows // min(BATCH, num_rows)))
