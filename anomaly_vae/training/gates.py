"""Release gates: what a trained model must pass before it is exported."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import betabinom

from anomaly_vae.calibration import threshold_rank
from anomaly_vae.densities import FloatArray
from anomaly_vae.engine import Estimates
from anomaly_vae.errors import GateFailed
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.features import Features, Inputs
from anomaly_vae.golden import GOLDEN_TOLERANCE
from anomaly_vae.heads import GaussianHead, Head, LogisticHead, StudentTHead
from anomaly_vae.manifest import Gate
from anomaly_vae.mixture import log_mean_exp
from anomaly_vae.training.fitting import Fitted
from anomaly_vae.training.heads import STD_FLOOR, grid_floor
from anomaly_vae.training.linear import factor_analysis, gaussian_log_prob_full
from anomaly_vae.training.vae import VAE
from anomaly_vae.transforms import FAR

__all__ = [
    "check_onnx",
    "false_positives",
    "has_structure",
    "importance_gap",
    "log_px_in_float64",
    "refuse_failed",
    "run_gates",
    "variance_floors",
]

# A model whose q(z|x) tells less than this of x does not use z, nats.
_COLLAPSED = 0.01

# Correlation, in standard errors, that is none by chance even among thousands of pairs; rows it is looked for in.
_CORRELATED, _MOST_CORRELATED = 5.0, 5000

# Share of the columns without a grid whose standard deviation may sit on its floor.
_MOST_ON_FLOOR = 0.5

# Nats by which the ELBO may lie below log p(x) in the median, and a latent dimension's part in that.
_GAP, _GAP_PER_DIM = 3.0, 1.0

# Standard errors by which a linear model may be better before it counts; rows from which on they can be told.
_CLEARLY, _FEWEST_ROWS = 3.0, 30

# What a column may lack, nats: spreads given z are left wider than the likelihood alone would have them, which finds
# more anomalies, and on tables that are all but linear costs a third of a nat a column.
_PER_COLUMN = 0.5

# Most held-out rows for that comparison, and the error of their log p, nats.
_MOST_ROWS, _ERROR = 500, 0.1

# Heads of numbers, which a linear model may be compared with.
_NUMBERS = ("gaussian", "conditional", "student_t", "logistic")

# Rates at which false positives are counted on the other half of the calibration rows, and the error of that check.
_RATES, _TAIL = (0.01, 0.05), 0.0001


def run_gates(
    members: Sequence[Fitted],
    estimator: DensityEstimator,
    train: FloatArray,
    held_out: FloatArray,
    calibration: Estimates,
    scores: FloatArray,
    num_samples: int,
) -> tuple[Gate, ...]:
    """Check a trained model.

    Args:
        members: Its parts.
        estimator: What scores with them.
        train, held_out: Rows in data units.
        calibration: Estimates of the calibration rows.
        scores: Their scores, in their random order.
        num_samples: The budget of a row.
    """
    rows = held_out[:_MOST_ROWS]
    log_px = estimator.estimate(rows, num_samples, _ERROR).log_px
    linear = _linear_log_px(members[0], train, rows)
    return (
        _collapse(members, structured=has_structure(members[0].features, train)),
        variance_floors(members),
        importance_gap(members, calibration),
        _against_linear(log_px, linear, len(members[0].features.schema.modelled)),
        false_positives(scores),
    )


def refuse_failed(gates: Sequence[Gate]) -> None:
    """Raise GateFailed, naming all gates that did not hold, if any."""
    failed = [gate for gate in gates if gate.passed is False]
    if failed:
        raise GateFailed(
            "; ".join(f"{gate.name}: {gate.detail}" for gate in failed)
            + ". Look at the data and the parameters, or export it all the same with --force (Python: force=True)"
        )


def has_structure(features: Features, rows: FloatArray) -> bool:
    """Whether any two columns are correlated beyond chance, over the rows that have both."""
    inputs = features.encode(rows[:_MOST_CORRELATED])
    x, mask = np.clip(inputs.x, -FAR, FAR), inputs.mask
    residual = (x - (x * mask).sum(axis=0) / np.maximum(mask.sum(axis=0), 1.0)) * mask
    squares, pairs = np.square(residual).T @ mask, mask.T @ mask
    correlation = np.abs(residual.T @ residual) / np.sqrt(np.maximum(squares * squares.T, 1e-30))
    column = features.layout.column_of_feature
    others = column[:, None] != column  # the features of one category depend on each other anyway
    return bool(np.any((correlation * np.sqrt(pairs) > _CORRELATED) & others & (pairs >= _FEWEST_ROWS)))


def _collapse(members: Sequence[Fitted], *, structured: bool) -> Gate:
    """Whether z is used; it need not be where no columns hang together."""
    kl = min(member.result.held_out.kl for member in members)
    name, detail = "posterior collapse", f"mean KL on held-out rows is {kl:.3g} nats, expected at least {_COLLAPSED:g}"
    if kl >= _COLLAPSED:
        return Gate(name=name, passed=True, detail=detail)
    if not structured:
        return Gate(name=name, passed=None, detail=f"{detail}; but no columns are correlated either")
    hint = "the model ignores z. Lower beta, raise kl_warmup or set free_bits"
    return Gate(name=name, passed=False, detail=f"{detail}: {hint}")


def variance_floors(members: Sequence[Fitted]) -> Gate:
    """How many columns are predicted so exactly that only the floor of their variance bounds their density."""
    shares = []
    for member in members:
        on_floor = []
        for column in member.vae.head.column_models():
            std = _learned_std(column.head)
            if std is not None and grid_floor(column) == STD_FLOOR:
                on_floor.append(std < 1.1 * STD_FLOOR)
        shares.append(float(np.mean(on_floor)) if on_floor else 0.0)
    worst = max(shares)
    return Gate(
        name="variance floors",
        passed=worst <= _MOST_ON_FLOOR,
        detail=f"{worst:.0%} of the continuous columns lie on the floor of their variance, expected at most "
        f"{_MOST_ON_FLOOR:.0%}"
        + ("" if worst <= _MOST_ON_FLOOR else ": the columns determine each other; exclude copies"),
    )


def _learned_std(head: Head) -> float | None:
    if isinstance(head, GaussianHead) and head.variance == "learned":
        return math.exp(0.5 * head.log_var)
    return math.exp(head.log_scale) if isinstance(head, StudentTHead) else None


def importance_gap(members: Sequence[Fitted], calibration: Estimates) -> Gate:
    """Whether the encoder's posterior is close enough to the true one for importance sampling."""
    gap = float(np.median(calibration.log_px - calibration.elbo))
    limit = _GAP + _GAP_PER_DIM * max(member.vae.latent_dim for member in members)
    return Gate(
        name="importance sampling gap",
        passed=bool(gap <= limit),
        detail=f"log p(x) exceeds the ELBO by {gap:.3g} nats in the median of the calibration rows, expected at most "
        f"{limit:g}",
    )


def _against_linear(log_px: FloatArray, linear: FloatArray | None, num_columns: int) -> Gate:
    name = "as good as a linear model"
    if linear is None or len(log_px) < _FEWEST_ROWS:
        why = "fewer than 30 held-out rows" if linear is not None else "missing cells, or columns that are no numbers"
        return Gate(name=name, passed=None, detail=f"not compared with a factor analysis: {why}")
    difference = log_px - linear
    low, high = np.quantile(difference, [0.02, 0.98])
    difference = np.clip(difference, low, high)  # one far row must not decide
    mean, error = float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
    passed = mean + _CLEARLY * error >= -_PER_COLUMN * num_columns
    return Gate(
        name=name,
        passed=bool(passed),
        detail=f"held-out log p(x) exceeds that of a factor analysis by {mean:.3g} +- {error:.2g} nats"
        + (
            "" if passed else f", expected {-_PER_COLUMN * num_columns:g}: train longer, or with more latent dimensions"
        ),
    )


def false_positives(scores: FloatArray) -> Gate:
    """Whether a threshold from every second score holds its rate on the others."""
    fold, rest = scores[::2], scores[1::2]
    name = "false positives"
    found = []
    for rate in _RATES:
        k = threshold_rank(len(fold), rate)
        if k == 0 or not len(rest):
            continue
        flags = int((rest < np.sort(fold)[k - 1]).sum())
        law = betabinom(len(rest), k, len(fold) + 1 - k)
        low, high = int(law.ppf(_TAIL)), int(law.ppf(1.0 - _TAIL))
        found.append((low <= flags <= high, f"{flags} of {len(rest)} at target {rate:g}, expected {low} to {high}"))
    if not found:
        return Gate(name=name, passed=None, detail="too few calibration rows to count any")
    return Gate(
        name=name, passed=all(holds for holds, _ in found), detail="flags on a fold: " + "; ".join(t for _, t in found)
    )


def _linear_log_px(member: Fitted, train: FloatArray, rows: FloatArray) -> FloatArray | None:
    """log p of rows under a factor analysis with our floors, nats in data units; None where there can be none."""
    blocks = member.features.layout.blocks
    fitted, tested = member.features.encode(train[:20_000]), member.features.encode(rows)
    if any(block.kind not in _NUMBERS for block in blocks) or min(map(_whole, (fitted, tested))) < 1:
        return None
    floors = np.array([grid_floor(member.vae.head.columns[d]) for d in member.features.layout.order])
    x = np.clip(fitted.x, -FAR, FAR)
    num_factors = min(member.vae.latent_dim, x.shape[1] - 1, len(x) - 1)
    if num_factors < 1:
        return None
    linear = factor_analysis(np.cov(x, rowvar=False, bias=True), num_factors, floors)
    cells = sum(math.log(head.cell) for block in blocks for head in block.heads if isinstance(head, LogisticHead))
    return gaussian_log_prob_full(tested.x - x.mean(axis=0), linear) + tested.base + cells


def _whole(inputs: Inputs) -> float:
    return float(inputs.mask.min())


def _mean_gain(log_px: FloatArray, other: FloatArray) -> float:
    """Standard errors by which one is above the other, less what it takes to be sure."""
    difference = log_px - other
    return float(difference.mean() - _CLEARLY * difference.std() / math.sqrt(len(difference)))


def check_onnx(vaes: Sequence[VAE], estimator: DensityEstimator, rows: FloatArray, num_samples: int) -> float:
    """The largest relative difference of log p(x) between the exported networks and torch in float64.

    Raises:
        GateFailed: It is above the tolerance.
    """
    expected = log_px_in_float64(vaes, estimator, rows, num_samples)
    actual = estimator.plain_log_px(rows, num_samples)
    worst = float(estimator.relative_difference(rows, actual, expected).max())
    if not worst <= GOLDEN_TOLERANCE:
        raise GateFailed(
            f"log p(x) from ONNX in float32 differs from torch in float64 by {worst:.2g} (relative), "
            f"at most {GOLDEN_TOLERANCE:g} is allowed; look for columns with extreme values"
        )
    return worst


@torch.no_grad()
def log_px_in_float64(
    vaes: Sequence[VAE], estimator: DensityEstimator, rows: FloatArray, num_samples: int
) -> FloatArray:
    """The estimator's plain log p(x) from the trained weights themselves, with torch, in float64, nats, shape (N,)."""
    found = []
    for vae, member in zip(map(VAE.in_float64, vaes), estimator.members, strict=True):
        inputs = member.features.encode(rows)
        x, mask = torch.as_tensor(inputs.x), torch.as_tensor(inputs.mask)
        points = torch.as_tensor(
            estimator.points(num_samples // len(estimator.members), vae.latent_dim).astype(np.float64)
        )
        loc, log_var = vae.encoder(x, mask)
        scale = torch.exp(0.5 * log_var)
        log_q = -0.5 * (math.log(2.0 * math.pi) + points**2).sum(-1) - torch.log(scale).sum(-1, keepdim=True)
        log_weights = vae.log_joint(x, mask, loc, scale, points) - log_q
        found.append((torch.logsumexp(log_weights, dim=-1) - math.log(len(points))).numpy() + inputs.base)
    return log_mean_exp(np.stack(found))
