"""The demo of images: scores of the service are compared, and the whole runs with fewer steps of training."""

import contextlib
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.cli import demo_images
from anomaly_vae.errors import AnomalyVaeError
from tests.support.command_line import in_process
from tests.support.drawn_scores import drawn_scores


def test_other_scores_of_the_service_are_an_error(monkeypatch):
    """Scores that are known stand for those of the service."""
    served = drawn_scores([1.0, -2.0])
    client = SimpleNamespace(score=lambda _images: served)
    monkeypatch.setattr(demo_images, "running_service", lambda _model: contextlib.nullcontext("127.0.0.1:5"))
    monkeypatch.setattr(demo_images, "Client", lambda _address: contextlib.nullcontext(client))
    line = demo_images.same_as_served("model", None, drawn_scores([1.0, -2.0]))
    assert line.startswith("served on 127.0.0.1:5: 2 images over gRPC in ")
    with pytest.raises(AnomalyVaeError, match="the scores of the service differ"):
        demo_images.same_as_served("model", None, drawn_scores([1.0, np.nextafter(-2.0, 0)]))


def test_the_demo_finds_what_is_no_digit(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_images, "_STEPS", 150)
    done = in_process("demo", "--kind", "image", "-o", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    files = {"train.npy", "held_out.npy", "model", "scores.csv", "demo_images.png"}
    assert set(os.listdir(tmp_path / "demo")) == files
    assert (tmp_path / "demo" / "demo_images.png").read_bytes().startswith(b"\x89PNG")
    assert float(re.search(r"AUROC ([\d.]+)", done.stdout)[1]) > 0.9
    for part in ("inverted", "bits per pixel", "same bits", "Next"):
        assert part in done.stdout
