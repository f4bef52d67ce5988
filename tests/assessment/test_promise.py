"""Verdicts about the promise, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.assessment.promise import chance_of, promise_of, rate, verdict_on
from anomaly_vae.assessment.proportions import proportion
from anomaly_vae.calibration import calibrate
from tests.support.assessed import conformal, promise_for


def verdict(count, total, **promise):
    return verdict_on(promise_for(**promise), proportion(count, total, 0.95))


@pytest.mark.parametrize(
    ("count", "outcome", "words"),
    [
        (50, "kept", "Kept. 50 of 1,000 normal rows are flagged: 5 % (interval 3.73 % to 6.54 %)"),
        (51, "kept", "Kept, within the uncertainty. 51 of 1,000 normal rows are flagged: 5.1 %"),
        (0, "kept", "at most 5 % of normal rows, on average over calibration sets."),
        (90, "chance", "With 99 calibration rows, one calibration set in"),
        (300, "broken", "Rows like the 99 calibration rows would give so many flags with a probability of"),
    ],
)
def test_each_outcome_has_its_words(count, outcome, words):
    found = verdict(count, 1000)
    assert found.outcome == outcome
    assert words in found.text


def test_with_a_confidence_the_target_itself_is_promised():
    found = verdict(60, 1000, target=0.05, effective=0.03, n=999, confidence=0.95)
    assert (found.limit, found.outcome) == (0.05, "kept")
    assert "at most 5 % of normal rows, with a confidence of 95 %" in found.text
    assert verdict(60, 1000, effective=0.03, n=999).outcome != "kept"


def test_without_normal_rows_nothing_is_known():
    found = verdict_on(promise_for(), None)
    assert (found.outcome, found.chance, found.found) == ("unknown", None, None)


def test_sound_models_are_hardly_ever_called_broken():
    """Their flags are beta-binomial: the chance is a p-value, so at most a tenth are below 0.1, plus 3 errors."""
    rng, promise = np.random.default_rng(0), promise_for(n=199)
    chances = [
        chance_of(promise, proportion(int((conformal(rng, 400, 199) <= 0.05).sum()), 400, 0.95)) for _ in range(400)
    ]
    assert np.mean(np.array(chances) <= 0.1) <= 0.1 + 3 * np.sqrt(0.09 / 400)
    assert np.mean(np.array(chances) <= 0.5) > 0.35


def test_a_confidence_that_too_few_rows_cannot_give_is_no_promise():
    scores = np.arange(30.0)
    record, _ = calibrate(scores, np.zeros(30, dtype=bool), 0.05, 0.95)
    assert promise_of(record, 0.05, record.effective_fpr).confidence is None
    assert promise_of(record, 0.2, record.effective_fpr).confidence == 0.95


def test_rates_are_in_percent():
    assert [rate(value) for value in (0.0, 0.00123, 0.5, 1.0)] == ["0 %", "0.123 %", "50 %", "100 %"]
