"""A training run on disk, so that one that was cut off can go on to the same end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file

__all__ = ["Checkpoint", "fingerprint"]

# Seconds between two savings, so that they cost next to nothing.
_EVERY = 10.0


def fingerprint(rows: FloatArray, names: tuple[str, ...], config: TrainConfig) -> str:
    """A digest of all that a run depends on but the libraries."""
    digest = hashlib.sha256(json.dumps([list(names), list(rows.shape), config.to_dict(), torch.__version__]).encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()


class Checkpoint:
    """The models trained so far, and the state of the one in training."""

    def __init__(self, path: Path | None, *, resume: bool) -> None:
        """Keep it at ``path``, or nowhere; read what is there if asked to.

        Raises:
            ConfigError: The file is no checkpoint.
        """
        self._path = path
        self._fingerprint = ""
        self._saved = time.monotonic()
        self.finished: list[dict[str, Any] | None] = []
        self.running: dict[str, Any] | None = None
        self._read: dict[str, Any] | None = None
        if resume and path is not None and path.exists():
            try:
                self._read = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch's errors for damaged files share no root
                raise ConfigError(f"{path}: not a checkpoint of a training run; remove it to start anew") from error

    def begin(self, digest: str) -> None:
        """Say what run this is; what was read is forgotten unless it is of the same.

        Raises:
            ConfigError: What was read is of another run.
        """
        self._fingerprint = digest
        if self._read is None:
            return
        if self._read.get("fingerprint") != digest:
            raise ConfigError(
                f"{self._path}: the checkpoint is of other rows or parameters; train with the same ones, or without "
                "--resume to start anew"
            )
        self.finished, self.running, self._read = self._read["finished"], self._read["running"], None

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Ask for the state of the model in training and write it, unless that was done a moment ago."""
        if self._path is not None and time.monotonic() - self._saved >= _EVERY:
            self._write(state())

    def finish(self, model: dict[str, Any] | None) -> None:
        """Add a model that has been trained, None for one that diverged."""
        self.finished.append(model)
        self.running = None

    def keep(self) -> None:
        """Write the models trained so far, whose export did not come about."""
        self._write(None)

    def remove(self) -> None:
        """Forget the run, which has come to its end."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, state: dict[str, Any] | None) -> None:
        if self._path is None:
            return
        with atomic_file(self._path, overwrite=True) as part:
            torch.save({"fingerprint": self._fingerprint, "finished": self.finished, "running": state}, part)
        self._saved = time.monotonic()
