"""What a model promises about normal rows, and what was found."""

from __future__ import annotations

from typing import Literal

from anomaly_vae.assessment.proportions import Proportion, beta_binomial_tail
from anomaly_vae.calibration import Calibration, threshold_rank
from anomaly_vae.record import Record

__all__ = ["Promise", "Verdict", "chance_of", "promise_of", "rate", "verdict_on"]

# Probability below which chance is no explanation. Chosen, not measured: a sound model gets the verdict "broken" at
# most once in 1,000 evaluations.
_LEAST_CHANCE = 0.001


class Promise(Record):
    """The false-positive rate that a threshold promises.

    Attributes:
        target_fpr: The requested rate.
        effective_fpr: The rate that the threshold has on average over calibration sets, at most.
        confidence: With which probability the rate of this calibration set is at most the target; None if only the
            mean over calibration sets is promised.
        calibration_rows: n, the number of calibration rows.
    """

    target_fpr: float
    effective_fpr: float
    confidence: float | None
    calibration_rows: int

    @property
    def limit(self) -> float:
        """The promised rate: the target where it holds with a confidence, otherwise the mean."""
        return self.effective_fpr if self.confidence is None else self.target_fpr

    @property
    def text(self) -> str:
        """The promise in words."""
        if self.confidence is None:
            return f"at most {rate(self.limit)} of normal rows, on average over calibration sets"
        return f"at most {rate(self.limit)} of normal rows, with a confidence of {rate(self.confidence)}"


class Verdict(Record):
    """What was found about a promise.

    Attributes:
        found: The share of normal rows that is flagged; None if there are no normal rows.
        limit: The promised rate.
        outcome: "kept": the interval reaches down to the promise. "chance": it lies above it, but a calibration set of
            this size can be so unlucky. "broken": chance is no explanation. "unknown": there are no normal rows.
        chance: Probability that rows like the calibration rows would have so many flags or more; None if unknown.
        text: The verdict as sentences.
    """

    found: Proportion | None
    limit: float
    outcome: Literal["kept", "chance", "broken", "unknown"]
    chance: float | None
    text: str


def promise_of(calibration: Calibration, target_fpr: float, effective_fpr: float) -> Promise:
    """Return what thresholds for a target promise.

    Args:
        calibration: The record of the model.
        target_fpr: The requested rate.
        effective_fpr: That of the thresholds.
    """
    n, confidence, contrast = calibration.num_rows, calibration.confidence, calibration.contrast_rank is not None
    if confidence and not threshold_rank(n, target_fpr, confidence, calibration.tail, contrast=contrast):
        confidence = None  # too few rows: only the mean holds
    return Promise(
        target_fpr=target_fpr, effective_fpr=effective_fpr, confidence=confidence, calibration_rows=calibration.num_rows
    )


def chance_of(promise: Promise, found: Proportion) -> float:
    """Return the probability that rows like the calibration rows would have so many flags or more.

    If rows are exchangeable with the n calibration rows, and the threshold has rank k, their number of flags is
    beta-binomial. With two thresholds, 2 k takes the place of k. Beside a contrast, which orders rows in
    another way, this is an approximation.

    Args:
        promise: What the threshold promises.
        found: The share that is flagged.

    References:
        Testing for Outliers with Conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279
    """
    n, k = promise.calibration_rows, promise.effective_fpr * (promise.calibration_rows + 1)
    return beta_binomial_tail(found.count, found.total, k, n + 1 - k)


def verdict_on(promise: Promise, found: Proportion | None) -> Verdict:
    """Compare the share of normal rows that is flagged with the promise.

    Args:
        promise: What the threshold promises.
        found: The share that is flagged, with its interval; None if there are no normal rows.
    """
    if found is None:
        text = "There are no normal rows, so the promise cannot be checked."
        return Verdict(found=None, limit=promise.limit, outcome="unknown", chance=None, text=text)
    chance = chance_of(promise, found)
    flagged = f"{found.count:,} of {found.total:,} normal rows are flagged: {_share(found)}"
    outcome: Literal["kept", "chance", "broken"]
    if found.low <= promise.limit:
        how = "Kept" if found.share <= promise.limit else "Kept, within the uncertainty"
        outcome, text = "kept", f"{how}. {flagged}; the promise is {promise.text}."
    elif chance >= _LEAST_CHANCE:
        outcome, text = "chance", f"Above the promise, perhaps by chance. {flagged}; {_by_chance(promise, chance)}"
    else:
        outcome, text = "broken", f"Broken. {flagged}; {_broken(promise, chance)}"
    return Verdict(found=found, limit=promise.limit, outcome=outcome, chance=chance, text=text)


def rate(value: float) -> str:
    """Return a share in percent."""
    return f"{100.0 * value:.3g} %"


def _share(found: Proportion) -> str:
    return f"{rate(found.share)} (interval {rate(found.low)} to {rate(found.high)})"


def _by_chance(promise: Promise, chance: float) -> str:
    remedy = "Calibrate with more rows" + ("" if promise.confidence else ", or with --confidence 0.95")
    return (
        f"the promise is {promise.text}. With {promise.calibration_rows:,} calibration rows, one calibration set in "
        f"{round(1.0 / chance):,} gives so many flags. {remedy}."
    )


def _broken(promise: Promise, chance: float) -> str:
    return (
        f"the promise is {promise.text}. Rows like the {promise.calibration_rows:,} calibration rows would give so "
        f"many flags with a probability of {chance:.1g}. So these rows are not like them: normal rows have changed, or "
        "some that are called normal are not. If they are normal, calibrate with rows like them."
    )
