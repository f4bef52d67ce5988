"""The part of a training's history that the manifest keeps."""

from __future__ import annotations

import math

import pytest

from anomaly_vae.bundle.manifest import MOST_POINTS
from anomaly_vae.training.history import Point, curve_of


def test_a_short_history_is_kept_in_data_units():
    curve = curve_of([Point(50, -3.0, -2.5), Point(100, -2.0, -1.5)], 10.0)
    assert (curve.steps, curve.training, curve.held_out) == ((50, 100), (7.0, 8.0), (7.5, 8.5))


def test_a_long_history_is_thinned_evenly_with_its_ends():
    curve = curve_of([Point(50 * i, -i, -2 * i) for i in range(1, 1001)], 0.0)
    assert len(curve.steps) == len(curve.training) == len(curve.held_out) == MOST_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (50, 50_000)
    gaps = {end - start for start, end in zip(curve.steps, curve.steps[1:], strict=False)}
    assert gaps <= {250, 300}
    assert all(value == -step / 50 for step, value in zip(curve.steps, curve.training, strict=True))


def test_evaluations_that_are_not_finite_are_left_out():
    """JSON has no such numbers."""
    bad = [Point(50, math.nan, 1.0), Point(100, 1.0, -math.inf), Point(150, 2.0, 3.0)]
    assert curve_of(bad, 0.0).steps == (150,)
    assert curve_of(bad[:2], 0.0) is None


def test_the_manifest_has_the_curve_of_every_candidate(trained):
    (candidate,) = trained.bundle.manifest.training.candidates
    assert candidate.curve.steps == (50, 100, 150, 200, 250, 300)
    assert max(candidate.curve.held_out) == pytest.approx(candidate.held_out_elbo, rel=1e-6)
    assert candidate.curve.training[-1] == pytest.approx(candidate.curve.held_out[-1], abs=5.0)
