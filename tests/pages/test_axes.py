"""Axes: round numbers, places, and ranges without any extent."""

from __future__ import annotations

import math

import pytest

from anomaly_vae.pages.axes import Axis, axis, frame, ticks


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.0, 1.0, ["0", "0.25", "0.5", "0.75", "1"]),
        (-41.7, -25.1, ["-40", "-35", "-30"]),
        (0.0, 4e7, ["0", "1e7", "2e7", "3e7", "4e7"]),
        (0.0, 2e-5, ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]),
        (1000.0, 9000.0, ["2,000", "4,000", "6,000", "8,000"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, texts):
    found = ticks(low, high, 4)
    assert [text for _, text in found] == texts
    assert all(low - 1e-9 <= value <= high * (1 + 1e-9) for value, _ in found)


def test_places_run_from_start_to_end_and_stop_there():
    x = Axis(0.0, 10.0, 100.0, 200.0)
    assert [x.place(value) for value in (0, 5, 10, -7, 99)] == [100, 150, 200, 100, 200]


@pytest.mark.parametrize(
    "values",
    [[], [math.nan, math.inf], [3.0], [0.0, 0.0], [1e20, 1e20], [-5.0, -5.0], [-1.7e308, 1.7e308], [0.0, 5e-324]],
)
def test_an_axis_has_an_extent_whatever_the_values(values):
    x = axis(values, 0.0, 1.0)
    assert x.low < x.high
    assert ticks(x.low, x.high)
    assert math.isfinite(x.high - x.low)
    assert 0.0 <= x.place(values[0] if values else 0.5) <= 1.0 or math.isnan(values[0])


def test_a_frame_names_its_axes_and_leaves_room():
    found = frame([0, 10], [0, 1], "steps", "ELBO, nats", room=(0.1, 0.0))
    assert (found.x.low, found.x.high) == (-1.0, 11.0)
    for text in (">steps<", ">ELBO, nats<", ">0.5<", ">10<"):
        assert text in found.marks
