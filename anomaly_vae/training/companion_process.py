"""The process of a companion: reads a job from standard input, writes progress and the outcome to standard output."""

from __future__ import annotations

import json
import os
import sys
from typing import IO

import torch

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.companion import Job, Outcome, read_frame, write_frame
from anomaly_vae.training.fit import fit_model, to_checkpoint
from anomaly_vae.training.loop import Progress

__all__ = ["main", "train"]


def main() -> None:
    """Train the job of standard input."""
    # What libraries print must not get between the messages.
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _, data = read_frame(sys.stdin.buffer)
        write_frame(messages, b"O", train(Job.from_bytes(data), messages).to_bytes())
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        # Interrupted before there was a model, or the parent is gone.
        os._exit(1)


def train(job: Job, messages: IO[bytes]) -> Outcome:
    """Train a job; write its progress to ``messages``."""

    def report(progress: Progress) -> None:
        write_frame(messages, b"P", json.dumps(list(progress)).encode())

    torch.set_num_threads(job.threads)
    try:
        model = fit_model(job.config, job.schema, job.train, job.held_out, Checkpoint(None, resume=False), report)
    except AnomalyVaeError as error:
        return Outcome(diverged=str(error))
    return Outcome(to_checkpoint(model))


if __name__ == "__main__":
    main()
