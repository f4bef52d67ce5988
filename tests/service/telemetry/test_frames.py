"""Frames of an exception."""

from anomaly_vae.service.telemetry.frames import frames_of


def deep(levels):
    if levels:
        deep(levels - 1)
    else:
        raise ValueError("42.5")


def test_only_the_places_of_the_last_32_frames_are_kept():
    try:
        deep(50)
    except ValueError as error:
        frames = frames_of(error.__traceback__)
    assert len(frames) == 32
    assert frames[-1].startswith("tests/service/telemetry/test_frames.py:10 in deep")
    assert not any("42.5" in frame for frame in frames)
    assert frames_of(None) == ()
