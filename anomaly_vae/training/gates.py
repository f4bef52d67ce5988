"""Release gates: the checks that a trained model must pass before it is exported."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import betabinom

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.manifest import Gate
from anomaly_vae.calibration import threshold_rank
from anomaly_vae.columns.features import Inputs
from anomaly_vae.columns.heads import HEADS
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.columns.transforms import FAR
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.estimator import DensityEstimator, Precision
from anomaly_vae.errors import GateFailed
from anomaly_vae.training.dependence import NEAR_FLOOR, has_structure, linear_copies
from anomaly_vae.training.factor_analysis import factor_analysis, gaussian_log_prob_full
from anomaly_vae.training.fit import FittedModel
from anomaly_vae.training.torch_heads import STD_FLOOR
from anomaly_vae.training.torch_heads.table import column_std_floor

__all__ = [
    "against_linear",
    "false_positives",
    "importance_gap",
    "posterior_collapse",
    "refuse_failed",
    "run_gates",
    "variance_floors",
]

# Mean KL of the held-out rows below which z counts as unused, nats: q(z|x) is then almost the prior. Chosen, not
# measured; models that use z have several nats.
_MIN_KL = 0.01

# Share of the columns without a grid whose standard deviation may be at its floor. Chosen, not measured.
_MAX_SHARE_ON_FLOOR = 0.5

# Limit of the median of log p(x) - ELBO, nats: a constant, and a part for each latent dimension. Windows and images may
# exceed it if this share of the calibration rows is reliable: log p(x) is then right in spite of the encoder. Chosen,
# not measured; models of 28 x 28 pixels have a gap of 5 to 17, windows of 285 steps one of 26, and are reliable.
_MAX_GAP, _MAX_GAP_PER_DIM, _LEAST_RELIABLE = 3.0, 1.0, 0.9

# Standard errors by which the model must be worse than the linear one to fail, and rows for the comparison, at least.
# Chosen, not measured: with fewer rows the standard error itself is unreliable.
_STD_ERRORS, _MIN_ROWS = 3.0, 30

# Nats per column by which the model may be worse than a linear one. Training leaves the variances given z larger than
# maximum likelihood would, which finds more anomalies. Measured: on almost linear tables this costs 0.33 nats a column.
_ALLOWED_LOSS_PER_COLUMN = 0.5

# Held-out rows for that comparison, at most. Chosen, not measured: they only bound the time.
_MAX_ROWS = 500

# Training rows for the factor analysis, at most. Chosen, not measured: they bound the time.
_MAX_LINEAR_ROWS = 20_000

# Columns for the factor analysis, at most. Chosen, not measured: 784 take 10 s.
_MOST_LINEAR_COLUMNS = 512

# Quantiles at which the differences to the linear model are clipped, so that one outlier does not decide. Chosen, not
# measured.
_CLIP_QUANTILES = (0.02, 0.98)

# False-positive rates to check, and the probability of each tail of the expected count. A sound model fails with
# probability 2 rates x 2 tails x 0.0001 = 1 / 2,500.
_RATES, _TAIL_PROBABILITY = (0.01, 0.05), 0.0001


def run_gates(
    members: Sequence[FittedModel],
    estimator: DensityEstimator,
    train: FloatArray,
    held_out: FloatArray,
    calibration: Estimates,
    scores: FloatArray | None,
    precision: Precision,
) -> tuple[Gate, ...]:
    """Return the results of the gates that need no threshold.

    Args:
        members: The models of the ensemble.
        estimator: The estimator of log p(x) with these models.
        train, held_out: Rows in data units.
        calibration: Estimates of the calibration rows.
        scores: Scores of the calibration rows, in random order; None if they depend on each other.
        precision: Of the scores.
    """
    rows = held_out[:_MAX_ROWS]
    log_px = estimator.estimate(rows, precision).log_px
    linear = _linear_log_px(members[0], train, rows)
    return (
        posterior_collapse(members, structured=_should_use_z(members[0], train)),
        variance_floors(members, train),
        importance_gap(members, calibration),
        against_linear(log_px, linear, len(members[0].features.schema.modelled)),
        false_positives(scores),
    )


def _should_use_z(member: FittedModel, train: FloatArray) -> bool:
    """Return whether z has something to say: in noise around a level, windows have no shapes to tell apart."""
    shape = member.features.schema.shape
    return not isinstance(shape, SeriesShape) and has_structure(member.features, train)


def refuse_failed(gates: Sequence[Gate]) -> None:
    """Raise GateFailed with the name and detail of every failed gate, if there is one."""
    failed = [gate for gate in gates if gate.passed is False]
    if failed:
        raise GateFailed(
            "; ".join(f"{gate.name}: {gate.detail}" for gate in failed)
            + ". Check the data and the parameters, or export the model anyway with --force (Python: force=True)"
        )


def posterior_collapse(members: Sequence[FittedModel], *, structured: bool) -> Gate:
    """Check that the model uses z. If no columns are correlated, it has no reason to, and the gate is not applied."""
    kl = min(member.result.held_out.kl for member in members)
    name, detail = "posterior collapse", f"mean KL on held-out rows is {kl:.3g} nats, expected at least {_MIN_KL:g}"
    if kl >= _MIN_KL:
        return Gate(name=name, passed=True, detail=detail)
    if not structured:
        return Gate(name=name, passed=None, detail=f"{detail}; but the columns, or windows, may have no structure")
    hint = "the model ignores z. Lower beta, raise kl_warmup or set free_bits"
    return Gate(name=name, passed=False, detail=f"{detail}: {hint}")


def variance_floors(members: Sequence[FittedModel], train: FloatArray) -> Gate:
    """Check that few columns are copies: sums of multiples of others, with a standard deviation at its floor.

    At the floor, the density of a column has no other bound, and copies count each deviation several times. A flexible
    model may reach the floor in other columns as well, where it knows nearly all of them from z.

    Args:
        members: The models of the ensemble.
        train: Training rows, data units, shape (n, D).
    """
    if members[0].features.schema.shape is not None:
        detail = "neighbouring steps or pixels may well determine each other"
        return Gate(name="variance floors", passed=None, detail=detail)
    shares = []
    for member in members:
        copies, columns = linear_copies(member.features, train), member.vae.head.column_models()
        on_floor = [
            copies[j] and (columns[m].head.learned_std or math.inf) < NEAR_FLOOR * STD_FLOOR
            for j, m in enumerate(member.features.layout.order)
            if columns[m].head.learned_std is not None and column_std_floor(columns[m]) == STD_FLOOR
        ]
        shares.append(float(np.mean(on_floor)) if on_floor else 0.0)
    worst = max(shares)
    return Gate(
        name="variance floors",
        passed=worst <= _MAX_SHARE_ON_FLOOR,
        detail=f"{worst:.0%} of the continuous columns are copies and lie on the floor of their variance, expected at "
        f"most {_MAX_SHARE_ON_FLOOR:.0%}"
        + ("" if worst <= _MAX_SHARE_ON_FLOOR else ": the columns determine each other; exclude copies"),
    )


def importance_gap(members: Sequence[FittedModel], calibration: Estimates) -> Gate:
    """Check that the encoder's posterior is close enough to the true one for importance sampling."""
    gap = float(np.median(calibration.log_px - calibration.elbo))
    limit = _MAX_GAP + _MAX_GAP_PER_DIM * max(member.vae.latent_dim for member in members)
    reliable = float(calibration.reliable.mean())
    has_shape = members[0].features.schema.shape is not None
    return Gate(
        name="importance sampling gap",
        passed=bool(gap <= limit) or (has_shape and reliable >= _LEAST_RELIABLE),
        detail=f"log p(x) exceeds the ELBO by {gap:.3g} nats in the median of the calibration rows, expected at most "
        f"{limit:g}" + (f", or reliable rows: {reliable:.0%} are" if has_shape else ""),
    )


def against_linear(log_px: FloatArray, linear: FloatArray | None, num_columns: int) -> Gate:
    """Check that held-out log p(x) is about as high as that of a linear model.

    Args:
        log_px: Of the model, nats, shape (N,).
        linear: Of a factor analysis, nats, shape (N,); None if there is none.
        num_columns: Number of modelled columns.
    """
    name = "as good as a linear model"
    if linear is None or len(log_px) < _MIN_ROWS:
        why = (
            f"fewer than {_MIN_ROWS} held-out rows"
            if linear is not None
            else f"missing cells, columns that are not numeric, or over {_MOST_LINEAR_COLUMNS} columns"
        )
        return Gate(name=name, passed=None, detail=f"not compared with a factor analysis: {why}")
    difference = log_px - linear
    difference = np.clip(difference, *np.quantile(difference, _CLIP_QUANTILES))
    mean, error = float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
    least = -_ALLOWED_LOSS_PER_COLUMN * num_columns
    passed = bool(mean + _STD_ERRORS * error >= least)
    detail = f"held-out log p(x) exceeds that of a factor analysis by {mean:.3g} +- {error:.2g} nats"
    hint = "" if passed else f", expected {least:g}: train longer, or with more latent dimensions"
    return Gate(name=name, passed=passed, detail=detail + hint)


def false_positives(scores: FloatArray | None) -> Gate:
    """Check that a threshold from every second score has its false-positive rate on the other scores.

    With a threshold of rank k of n scores, the probability of a flag is Beta(k, n + 1 - k), so the number of flags
    among the other scores is beta-binomial.
    """
    name = "false positives"
    if scores is None:
        return Gate(name=name, passed=None, detail="windows that overlap depend on each other: their flags have no law")
    fold, rest = scores[::2], scores[1::2]
    checks = []
    for rate in _RATES:
        k = threshold_rank(len(fold), rate)
        if k == 0 or not len(rest):
            continue
        flags = int((rest < np.sort(fold)[k - 1]).sum())
        law = betabinom(len(rest), k, len(fold) + 1 - k)
        low, high = int(law.ppf(_TAIL_PROBABILITY)), int(law.ppf(1.0 - _TAIL_PROBABILITY))
        checks.append((low <= flags <= high, f"{flags} of {len(rest)} at target {rate:g}, expected {low} to {high}"))
    if not checks:
        return Gate(name=name, passed=None, detail="too few calibration rows to count any")
    details = "; ".join(detail for _, detail in checks)
    return Gate(name=name, passed=all(passed for passed, _ in checks), detail=f"flags on a fold: {details}")


def _linear_log_px(member: FittedModel, train: FloatArray, rows: FloatArray) -> FloatArray | None:
    """Return log p of rows under a factor analysis with the model's floors, nats in data units; None if impossible."""
    blocks = member.features.layout.blocks
    fitted, tested = member.features.encode(train[:_MAX_LINEAR_ROWS]), member.features.encode(rows)
    if not all(HEADS[block.kind].takes_transform for block in blocks) or min(map(_lowest_mask, (fitted, tested))) < 1:
        return None
    floors = np.array([column_std_floor(member.vae.head.columns[d]) for d in member.features.layout.order])
    x = np.clip(fitted.x, -FAR, FAR)
    if x.shape[1] > _MOST_LINEAR_COLUMNS:
        return None
    num_factors = min(member.vae.latent_dim, x.shape[1] - 1, len(x) - 1)
    if num_factors < 1:
        return None
    linear = factor_analysis(np.cov(x, rowvar=False, bias=True), num_factors, floors)
    models = member.vae.head.columns
    cells = sum((m.head.unit_log_density(m.transform) or 0.0) - m.head.log_jacobian(m.transform) for m in models)
    return gaussian_log_prob_full(tested.x - x.mean(axis=0), linear) + tested.base + cells


def _lowest_mask(inputs: Inputs) -> float:
    """Return 0 if any cell is missing, else 1."""
    return float(inputs.mask.min())
