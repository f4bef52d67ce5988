"""The seconds of stages that overlap."""

from __future__ import annotations

import itertools

import pytest

from anomaly_vae.batch.stages import Stages


def test_only_the_time_inside_counts():
    """The clock moves by 1, 2, 4, ... from call to call, so each interval is known."""
    stages = Stages(map(float, itertools.accumulate(2**i for i in itertools.count())).__next__)
    with stages.timing("write"):  # 1 to 3
        pass
    assert stages.seconds == {"write": 2.0}
    assert list(stages.taking("read", "ab")) == ["a", "b"]  # three times, with the end: 8 + 32 + 128
    assert stages.seconds == {"write": 2.0, "read": 168.0}
    assert stages.calling("score", str)(5) == "5"
    assert stages.seconds["score"] == 512.0


def test_the_time_of_a_stage_that_fails_counts():
    stages = Stages(iter([1.0, 4.0]).__next__)
    with pytest.raises(ZeroDivisionError), stages.timing("score"):
        raise ZeroDivisionError
    assert stages.seconds == {"score": 3.0}
