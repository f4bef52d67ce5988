"""Estimate log p(x) of a block of rows under an ensemble, as precisely as asked and no more.

1. 16 samples of every row come from the encoder's q(z|x): they give the ELBO, and belong to every later proposal.
2. Quick phase: every row gets a quick fit of a proposal under each member (:mod:`anomaly_vae.density.fitting`), and 64
   samples. Rows whose standard error is certified end here. The others get a proposal with heavy tails that is refitted
   to their samples, and 128 to 1,024 samples.
3. Thorough phase: rows that are still not certified, and rows whose log p(x) is low, get a fit with many starts, and
   more samples.

The samples behind a refit or a new phase do not enter its estimates: they would bias them. A row is certified when its
standard error is at most the target, and the weights of every member that counts have a light tail. Everything follows
from the row alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Inputs
from anomaly_vae.density.diagnostics import has_light_tail
from anomaly_vae.density.engine import FIRST_POINTS, PILOT_POINTS, Engine, estimates_of
from anomaly_vae.density.ensemble import combined_error, log_mean_exp, shares_of
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.network import Float32Array
from anomaly_vae.density.partial import Partial
from anomaly_vae.density.precision import Precision
from anomaly_vae.density.sampler import Mask, MixtureSampler

__all__ = ["QUICK_PHASE", "THOROUGH_PHASE", "Phase", "run_phase"]

# Standard error of the log p(x) that a fit alone gives, nats. Measured on default models of 4 ADBench tables, normal
# rows: the median error is 0.1 to 0.3.
_FIT_ERROR = 0.5

# Only members with a smaller share of p(x), by their fits, may go without samples, whatever the target. Chosen, not
# measured.
_SMALL_SHARE = 0.1

# Nats by which a member may be below the best one and still get a better fit. Chosen, not measured: a quick fit may
# miss a mode, so the limit is lenient; below, the member would have to gain a factor of 400. Where log p(x) is low, all
# members get one: there, quick fits were seen to miss 30 nats of a member.
_WITHIN_NATS = 6.0


class Phase(NamedTuple):
    """One phase.

    Attributes:
        thorough: Whether its fits are thorough, and its proposals have the tails of Student's t from the start.
        rounds: Points of every scrambling at the checks of the fitted proposals, then of those that are refitted to the
            samples so far, and so on. Chosen by the time that normal rows take.
    """

    thorough: bool
    rounds: tuple[tuple[int, ...], ...]


QUICK_PHASE = Phase(thorough=False, rounds=((FIRST_POINTS,), (8, 16, 32, 64)))
THOROUGH_PHASE = Phase(thorough=True, rounds=((8,), (16, 32), (32, 64, 128)))


class _Member:
    """The estimates of one member for the N rows of a block, in data units, and the samplers of rows in work."""

    def __init__(
        self,
        engine: Engine,
        inputs: Inputs,
        estimates: Estimates,
        spent: NDArray[np.int64],
        modes: Float32Array | None,
    ) -> None:
        self._engine, self._base, self.estimates = engine, inputs.base, estimates
        self.rows = engine.encode(inputs)
        self.modes = self.rows.loc.copy() if modes is None else modes
        self._samplers: list[tuple[NDArray[np.intp], MixtureSampler]] = []
        self._pilot = engine.encoder_sampler(self.rows)
        self._pilot.extend(PILOT_POINTS)
        self._before, self.spent = spent.copy(), spent

    def elbo(self) -> FloatArray:
        """Return the ELBO of the encoder's samples, nats in data units, shape (N,)."""
        weights = self._pilot.log_weights()[0].reshape(len(self._base), -1)
        return np.asarray(weights.sum(axis=-1) / weights.shape[1] + self._base)

    def fit(self, which: Mask, phase: Phase) -> None:
        """Fit proposals to some rows; their estimates are those of the fit, until they are sampled."""
        where = np.flatnonzero(which)
        fitter = self._engine.fitter
        if not len(where) or fitter is None:
            return
        rows = self.rows if len(where) == len(which) else self.rows.take(where)
        fit = fitter.fit(rows, self.modes[where], fitter.thorough if phase.thorough else fitter.quick)
        self.modes[where] = fit.mixture.loc[:, 0]
        self._before[where] += fit.evaluations
        self.spent[where] = self._before[where] + PILOT_POINTS * self._engine.scramblings
        self.estimates.put(where, _of_fit(fit.log_evidence + self._base[where]))
        pilot = self._pilot.log_joint()[where]
        samplers = self._engine.mixture_samplers(rows, fit.mixture, pilot, heavy=phase.thorough)
        self._samplers = [(where[part], sampler) for part, sampler in samplers]

    def refit(self, which: Mask) -> None:
        """Start again with proposals refitted to the samples of some rows; the other rows are finished."""
        samplers = []
        for where, sampler in self._samplers:
            kept = which[where]
            if kept.any():
                rest, taken = where[kept], sampler.take(kept)
                self._before[rest] = self.spent[rest]
                pilot = self._pilot.log_joint()[rest]
                mixture = taken.refitted()
                samplers += [
                    (rest[part], new)
                    for part, new in self._engine.mixture_samplers(taken.rows, mixture, pilot, heavy=True)
                ]
        self._samplers = samplers

    def sample(self, which: Mask, num_points: int) -> None:
        """Extend the samples of some rows; the other rows are finished."""
        left = []
        for where, sampler in self._samplers:
            kept = which[where]
            if not kept.any():
                continue
            rest, taken = (where, sampler) if kept.all() else (where[kept], sampler.take(kept))
            taken.extend(num_points)
            self.estimates.put(rest, estimates_of(taken).shifted(self._base[rest]))
            self.spent[rest] = self._before[rest] + num_points * self._engine.scramblings
            left.append((rest, taken))
        self._samplers = left

    def most_points(self, num_samples: int) -> NDArray[np.int64]:
        """Return the points of every scrambling that each row can have within its evaluations, shape (N,)."""
        return np.minimum((num_samples - self._before) // self._engine.scramblings, self._engine.num_points)


def _of_fit(log_evidence: FloatArray) -> Estimates:
    """Return what a fit alone says of log p(x), nats, shape (N,)."""
    ones = np.ones_like(log_evidence)
    return Estimates(
        log_px=log_evidence,
        elbo=log_evidence,
        std_error=_FIT_ERROR * ones,
        ess_ratio=ones,
        pareto_k=0.0 * ones,
        reliable=ones > 0.0,
        num_samples=np.ones(len(ones), dtype=np.int64),
    )


class _Check:
    """The state of all rows after a round."""

    def __init__(self, members: Sequence[_Member], target_error: float) -> None:
        estimates = [member.estimates for member in members]
        log_px = np.array([each.log_px for each in estimates])
        self.log_px = log_mean_exp(log_px)
        shares, counts = shares_of(log_px, self.log_px)
        errors = shares * np.array([each.std_error for each in estimates])
        heavy = ~np.array([has_light_tail(each.pareto_k, each.num_samples) for each in estimates])
        with np.errstate(invalid="ignore"):  # NaN: there is no valid error
            precise = combined_error(errors, counts) <= target_error
            self.certified = precise & ~(heavy & counts).any(axis=0)
            large = ~(errors <= 0.5 * target_error / math.sqrt(len(members)))
        self.needs_samples = (large | heavy) & counts & ~self.certified


def run_phase(
    phase: Phase,
    engines: Sequence[Engine],
    inputs: Sequence[Inputs],
    precision: Precision,
    careful_below: FloatArray,
    known: Partial | None = None,
) -> Partial:
    """Estimate log p(x) of the rows of a block in one phase.

    Args:
        phase: The phase.
        engines, inputs: One for each member.
        precision: The rule.
        careful_below: Rows with a lower log p(x) are not sampled further in an early phase, nats in data units, (N,).
        known: The state of the rows after the phase before; None for the first.
    """
    num_rows = len(careful_below)
    if known is None:
        estimates = tuple(Estimates.empty(num_rows) for _ in engines)
        spent = np.zeros((len(engines), num_rows), dtype=np.int64)
        near = np.ones((len(engines), num_rows), dtype=bool)
        modes: Sequence[Float32Array | None] = [None] * len(engines)
    else:
        estimates, spent, modes = known.estimates, known.spent, known.modes
        log_px = np.array([each.log_px for each in estimates])
        near = ~(log_px < log_px.max(axis=0) - _WITHIN_NATS) | (known.log_px() < careful_below)
        first = phase.rounds[0][0]
        costs = np.array(
            [[engine.most_evaluations(thorough=phase.thorough) + first * engine.scramblings] for engine in engines]
        )
        near &= spent + costs <= precision.num_samples // len(engines)
    if not all(_affords_thorough_phase(engine, precision.num_samples // len(engines)) for engine in engines):
        careful_below = np.full(num_rows, -np.inf)  # no thorough phase follows
    members = [_Member(*each) for each in zip(engines, inputs, estimates, spent, modes, strict=True)]
    check = _sample_in_rounds(members, near, phase, precision, careful_below)
    return Partial(
        estimates=tuple(member.estimates for member in members),
        elbo=np.array([member.elbo() for member in members]) if known is None else known.elbo,
        spent=np.array([member.spent for member in members]),
        is_certified=check.certified,
        modes=tuple(member.modes for member in members),
    )


def _affords_thorough_phase(engine: Engine, num_samples: int) -> bool:
    """Return whether a member's budget is enough for both fits and the first samples of the thorough one."""
    fits = sum(engine.most_evaluations(thorough=thorough) for thorough in (False, True))
    return fits + THOROUGH_PHASE.rounds[0][0] * engine.scramblings <= num_samples


def _sample_in_rounds(
    members: Sequence[_Member], which: Mask, phase: Phase, precision: Precision, careful_below: FloatArray
) -> _Check:
    """Fit and sample some rows of each member (M, N) until they are certified, or to the end of the phase."""
    target = precision.target_error
    for member, rows in zip(members, which, strict=True):
        member.fit(rows, phase)
    log_px = np.array([member.estimates.log_px for member in members])
    total = log_mean_exp(log_px)
    shares, _ = shares_of(log_px, total)
    which = which & ~((shares < _SMALL_SHARE) & (shares * _FIT_ERROR <= target / (4 * len(members))))
    if not phase.thorough:
        which = which & ~(total < careful_below)
    for number, schedule in enumerate(phase.rounds):
        if number:
            for member, rows in zip(members, which, strict=True):
                member.refit(rows)
        for num_points in schedule:
            check = _sample_to(members, which, num_points, precision)
            which = which & check.needs_samples
            if not phase.thorough:
                which = which & ~(check.log_px < careful_below)
            if not which.any():
                return check
    return check


def _sample_to(members: Sequence[_Member], which: Mask, num_points: int, precision: Precision) -> _Check:
    """Extend the samples of some rows of each member (M, N), and check all rows."""
    budget = precision.num_samples // len(members)
    for member, rows in zip(members, which, strict=True):
        member.sample(rows & (num_points <= member.most_points(budget)), num_points)
    return _Check(members, precision.target_error)
