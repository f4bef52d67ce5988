"""The optimisation loop: AdamW on the negative ELBO, early stopping by the ELBO of held-out rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.data import BATCH_SIZE, Batches, Data, Streamed, hide_cells
from anomaly_vae.training.group import Group
from anomaly_vae.training.history import Point
from anomaly_vae.training.objective import kl_weight, negative_elbo, trim
from anomaly_vae.training.optimiser import make_optimiser, take_step
from anomaly_vae.training.vae import VAE

__all__ = ["Evaluation", "FitResult", "Progress", "TrainingLoop", "evaluate"]

# Steps between two evaluations on the held-out rows. Chosen, not measured: with fewer steps the best step is found more
# exactly, but training takes longer.
_STEPS_PER_CHECK = 50

# Share of max_steps without a better held-out ELBO after which training stops. Chosen, not measured: a smaller share
# saves time, but may stop on a plateau.
_PATIENCE = 0.25

# Share of the held-out rows, those with the lowest ELBO, that the means leave out, so that one outlier does not decide
# which step is best. Chosen, not measured: it removes the outliers while they are rarer than this.
_HELD_OUT_TRIM = 0.02

# Rows in an evaluation, at most, and (row, noise) pairs for tables with fewer rows. Measured on 16 ADBench tables:
# an evaluation takes as long as 1 to 2 steps, so evaluations take about 2 to 4 % of the time.
_MAX_HELD_OUT_ROWS = 1024
_HELD_OUT_PAIRS = 1024

# Noise draws per held-out row, at most. Chosen, not measured.
_MAX_HELD_OUT_DRAWS = 64


class Evaluation(NamedTuple):
    """Means over held-out rows, nats in model units."""

    elbo: float
    kl: float
    log_likelihood: float


class Progress(NamedTuple):
    """The state of training at an evaluation, for a progress display.

    Attributes:
        step: Steps done.
        max_steps: Steps at most.
        loss: Mean training loss since the evaluation before, nats.
        held_out: Means over the held-out rows.
        best_elbo: The best held-out ELBO so far, nats.
    """

    step: int
    max_steps: int
    loss: float
    held_out: Evaluation
    best_elbo: float


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The result of training; the model holds the weights of the best step.

    Attributes:
        steps: Steps done.
        best_step: The step with the best held-out ELBO.
        held_out: Means over the held-out rows at that step.
        interrupted: Whether KeyboardInterrupt ended the training.
        history: What every evaluation found, in order.
    """

    steps: int
    best_step: int
    held_out: Evaluation
    interrupted: bool
    history: tuple[Point, ...] = ()


class TrainingLoop:
    """The training of one model; it can resume from an earlier :meth:`state` and then gives the same result."""

    def __init__(
        self,
        vae: VAE,
        train: Data | Streamed,
        held_out: Data,
        config: TrainConfig,
        generator: torch.Generator,
        group: Group | None = None,
    ) -> None:
        """Prepare the optimiser, the learning-rate schedule and the held-out noise.

        Args:
            vae: The model, on the device of the rows; it is trained in place.
            train, held_out: Rows in model units.
            config: Parameters with sizes and steps resolved.
            generator: Random generator for the order of the rows and for the noise, on the same device.
            group: The processes that train the model; all of them have the same arguments.
        """
        self._group = group or Group()
        self._vae, self._held_out, self._config, self._generator = vae, held_out, config, generator
        self._max_steps = _max_steps(config, train.num_rows)
        self._warmup = round(config.kl_warmup * self._max_steps)
        self._optimiser, self._schedule = make_optimiser(vae, self._max_steps)
        self._noise = _held_out_noise(vae, held_out, generator)
        self._batches = Batches(train, generator, self._group)
        self._rows_known = self._batches.size if isinstance(train, Data) else None
        self._columns = torch.as_tensor(vae.head.layout.column_of_feature, device=train.device)
        self._num_columns = int(self._columns[-1]) + 1
        self._best, self._best_step = Evaluation(-math.inf, math.nan, math.nan), 0
        self._best_state = copy.deepcopy(vae.state_dict())
        self._step, self._history = 0, list[Point]()

    def run(
        self,
        report: Callable[[Progress], None] | None = None,
        on_check: Callable[[], None] | None = None,
    ) -> FitResult:
        """Train to the end, then load the weights with the best held-out ELBO into the model.

        KeyboardInterrupt ends the training early with the best weights so far. Before the first evaluation there are
        none, and it is raised again; with several processes too, because it reaches them at different steps.

        Args:
            report: Called with the progress at each evaluation.
            on_check: Called after each evaluation; it may call :meth:`state`.

        Raises:
            FloatingPointError: The held-out ELBO was never finite.
        """
        interrupted = False
        try:
            # The loop is in a method of its own: if a try block starts with a loop, CPython 3.11 does not catch an
            # interrupt at the jump back to the start of that loop.
            self._take_steps(report, on_check)
        except KeyboardInterrupt:
            if self._best_step == 0 or self._group.count > 1:
                raise
            interrupted = True
        finally:
            self._batches.close()
        if not math.isfinite(self._best.elbo):
            raise FloatingPointError(f"the held-out ELBO is {self._best.elbo} after {self._step} steps")
        self._vae.load_state_dict(self._best_state)
        return FitResult(
            steps=self._step,
            best_step=self._best_step,
            held_out=self._best,
            interrupted=interrupted,
            history=tuple(self._history),
        )

    def _take_steps(self, report: Callable[[Progress], None] | None, on_check: Callable[[], None] | None) -> None:
        self._group.align(self._vae)
        loss_sum, steps = torch.zeros((), device=self._held_out.x.device), 0
        while self._step < self._max_steps and not self._has_stalled():
            self._step += 1
            loss_sum += self._take_step()
            steps += 1
            if self._step % _STEPS_PER_CHECK and self._step != self._max_steps:
                continue
            now, loss = self._check(), float(loss_sum) / steps
            self._history.append(Point(self._step, -loss, now.elbo))
            if report:
                report(Progress(self._step, self._max_steps, loss, now, self._best.elbo))
            loss_sum.zero_()
            steps = 0
            if on_check:
                on_check()

    def state(self) -> dict[str, Any]:
        """Return all that the remaining steps depend on, as tensors, numbers and lists."""
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
            "history": [list(point) for point in self._history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state that :meth:`state` returned."""
        self._step, self._best_step = state["step"], state["best_step"]
        self._best, self._best_state = Evaluation(*state["best"]), state["best_state"]
        self._history = [Point(*point) for point in state.get("history", ())]
        self._vae.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        self._batches.restore(state["batches"])

    def _has_stalled(self) -> bool:
        at_check = self._step % _STEPS_PER_CHECK == 0
        return at_check and self._step > self._warmup and self._step - self._best_step >= _PATIENCE * self._max_steps

    def _hides_cells(self) -> bool:
        """Whether this step hides cells; these steps are spread evenly over the training."""
        share = self._config.masking
        return int(self._step * share) > int((self._step - 1) * share)

    def _take_step(self) -> Tensor:
        vae, config = self._vae, self._config
        data, masked = self._batches.next(), self._hides_cells()
        if masked:
            data = hide_cells(data, self._columns, self._drawn(torch.rand, self._num_columns + 1, len(data.x)))
        noise = self._drawn(torch.randn, vae.latent_dim, len(data.x))
        terms = self._group.gather(vae.elbo_terms(*data, noise), self._rows_known)
        if self._step > self._warmup:  # earlier, a low ELBO does not yet mark an outlier
            terms = trim(terms, config.trim_fraction)
        loss = negative_elbo(terms, kl_weight(self._step, self._warmup, config.beta), config.free_bits)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if masked:  # train the encoder only: rows with hidden cells make p(x|z) worse
            for parameter in (*vae.decoder.parameters(), *vae.head.parameters(), *vae.prior.parameters()):
                parameter.grad = None
        self._group.add_gradients(vae.parameters())
        take_step(vae, self._optimiser, self._schedule)
        return loss.detach()

    def _drawn(self, draw: Callable[..., Tensor], width: int, num_rows: int) -> Tensor:
        """Return random numbers for the rows of this process, (N, width): its part of those that all processes draw."""
        drawn = draw(self._batches.size, width, generator=self._generator, device=self._held_out.x.device)
        return drawn[self._batches.own][:num_rows]

    def _check(self) -> Evaluation:
        self._group.align(self._vae)  # machines of different kinds may round differently
        self._vae.eval()  # without dropout, and with the normalisation that export folds
        now = evaluate(self._vae, self._held_out, self._noise, max(self._config.trim_fraction, _HELD_OUT_TRIM))
        self._vae.train()
        now = self._group.same(now)
        if now.elbo > self._best.elbo:
            self._best, self._best_step = now, self._step
            self._best_state = copy.deepcopy(self._vae.state_dict())
        return now


@torch.no_grad()
def evaluate(vae: VAE, data: Data, noise: Tensor, trim_fraction: float = 0.0) -> Evaluation:
    """Return the mean ELBO (beta = 1) and its two terms over rows.

    Args:
        vae: The model.
        data: Rows in model units; the first N are used.
        noise: Standard normal draws, shape (M, N, L).
        trim_fraction: Share of the (row, draw) pairs, those with the lowest ELBO, to leave out.
    """
    num_rows = noise.shape[1]
    x, mask = (values[:num_rows].repeat(len(noise), 1) for values in data)
    terms = trim(vae.elbo_terms(x, mask, noise.flatten(0, 1)), trim_fraction)
    log_likelihood, kl = float(terms.log_likelihood.double().mean()), float(terms.kl.double().mean())
    return Evaluation(log_likelihood - kl, kl, log_likelihood)


def _held_out_noise(vae: VAE, held_out: Data, generator: torch.Generator) -> Tensor:
    """Draw the noise of all evaluations once, so that they differ by the weights only; small tables get more draws."""
    rows = min(len(held_out.x), _MAX_HELD_OUT_ROWS)
    draws = min(_MAX_HELD_OUT_DRAWS, max(1, _HELD_OUT_PAIRS // rows))
    return torch.randn(draws, rows, vae.latent_dim, generator=generator, device=held_out.x.device)


def _max_steps(config: TrainConfig, num_rows: int) -> int:
    """Return the limit in steps, by max_steps or by max_epochs if that is fewer."""
    max_steps = int(config.max_steps)
    if config.max_epochs is None:
        return max_steps
    return min(max_steps, config.max_epochs * max(1, num_rows // min(BATCH_SIZE, num_rows)))
