"""The demo of images: letters, inverted images and noise among handwritten digits."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.cli.demo_image_report import print_kinds
from anomaly_vae.cli.demo_report import next_steps
from anomaly_vae.cli.demo_service import running_service
from anomaly_vae.client import Client
from anomaly_vae.columns.image_arrays import shape_of_images, to_image_rows
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.plot import plot_images
from anomaly_vae.plot.canvas import private_fonts
from anomaly_vae.scorer import load
from anomaly_vae.scores import Scores
from anomaly_vae.storage import atomic_file
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.demo_image_data import make_images
from anomaly_vae.training.images import train_images
from anomaly_vae.training.progress_bar import training_progress

__all__ = ["run", "same_as_served"]

# Optimiser steps: enough for digits of 8 x 8 pixels, and less than a minute.
_STEPS = 500

# Images that the model draws for the picture.
_SAMPLES = 10


def run(output: Path, seed: int, *, quiet: bool) -> None:
    """Train, score and serve; everything is written to ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    model, images = output / "model", make_images(seed)
    for name, array in (("train", images.train), ("held_out", images.held_out)):
        _save(output / f"{name}.npy", array)

    if not quiet:
        click.echo(f"Training on {len(images.train)} digits of 8 x 8 pixels ({output / 'train.npy'})")
    # Without the contrast, which would take half of the time: log p(x) alone finds these images.
    config = TrainConfig(architecture="conv2d", search="off", contrast="off", max_steps=_STEPS, random_state=seed)
    shape = shape_of_images(images.train, "NHW")
    with training_progress(enabled=not quiet, terminal=sys.stderr.isatty()) as bars:
        rows = to_image_rows(images.train, shape)
        trained = train_images(rows, shape, config, report=bars.report, on_calibrated=bars.on_calibrated)
    if trained.bundle.manifest.training.interrupted:
        raise KeyboardInterrupt
    write_bundle(trained.bundle, model, overwrite=True)

    scorer = load(model)
    scores = scorer.score(images.held_out)
    served = same_as_served(model, images.held_out, scores)
    print_kinds(scorer, images, scores, output / "scores.csv", quiet=quiet)
    samples = scorer.sample(_SAMPLES, seed=seed).reshape(_SAMPLES, *shape.sizes)
    made = scorer.reconstruct(images.held_out)
    names = [f"{kind} {i + 1}" for i, kind in enumerate(images.kinds)]
    picture, title = output / "demo_images.png", "Digits that training never saw, letters, inverted digits and noise"
    with private_fonts(output):
        plot_images(picture, images.held_out, scores, names, made, samples, title)
    click.echo(served)
    if not quiet:
        commands = (
            f"inspect {model}",
            f"score {model} {output / 'held_out.npy'} -o - --layout NHW",
            f"serve {model}",
            "train FOLDER_OF_NORMAL_IMAGES -o model",
        )
        click.echo(next_steps(picture, commands))


def same_as_served(model: Path, images: Any, scores: Scores) -> str:
    """Serve a model, score images over gRPC, and compare the bits with these scores.

    Returns:
        The address, the number of images and the seconds, in one line.

    Raises:
        AnomalyVaeError: The service did not start, did not stop, or gave other scores.
    """
    with running_service(model) as address, Client(address) as client:
        start = time.perf_counter()
        served = client.score(images)
        seconds = time.perf_counter() - start
    if served.log_px.tobytes() != scores.log_px.tobytes():
        raise AnomalyVaeError("the scores of the service differ from those without it")
    return f"served on {address}: {len(served)} images over gRPC in {seconds:.2f} s, same bits as without the service"


def _save(path: Path, array: Any) -> None:
    data = io.BytesIO()
    np.save(data, array)
    with atomic_file(path, overwrite=True) as part:
        part.write_bytes(data.getvalue())
