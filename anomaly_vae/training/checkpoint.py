"""A checkpoint file of a training run: an interrupted run resumes from it and gives the same model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.group import Group

__all__ = ["Checkpoint", "fingerprint"]

# Seconds between two saves, at least; also the work that is lost at most. Measured: a save of networks of the default
# size takes 3 ms, so saves take less than 0.1 % of the time.
_SAVE_INTERVAL_S = 10.0


def fingerprint(rows: FloatArray, names: tuple[str, ...], config: TrainConfig) -> str:
    """Return a digest of the rows, the column names, the parameters and the torch version."""
    digest = hashlib.sha256(json.dumps([list(names), list(rows.shape), config.to_dict(), torch.__version__]).encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()


class Checkpoint:
    """The models that are finished, and the state of the model in training.

    Attributes:
        finished: The finished models in order; None for a model that diverged.
        running: The state of the model in training, None if it has not started.
    """

    def __init__(self, path: Path | None, *, resume: bool) -> None:
        """Use the file at ``path``, or no file if it is None; read it now if ``resume``.

        Raises:
            ConfigError: The file is not a checkpoint.
        """
        self._path = path
        self._fingerprint = ""
        self._saved_at = time.monotonic()
        self.finished: list[dict[str, Any] | None] = []
        self.running: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None
        if resume and path is not None and path.exists():
            try:
                self._loaded = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch's errors for damaged files share no root
                raise ConfigError(f"{path}: not a checkpoint of a training run; remove it to start again") from error

    def share(self, group: Group) -> None:
        """Continue from what process 0 has read; the other processes need no file."""
        self._loaded = group.same(self._loaded)

    def begin(self, digest: str) -> None:
        """Start the run with this :func:`fingerprint`; continue from the file that was read, if any.

        Raises:
            ConfigError: The file that was read has another fingerprint.
        """
        self._fingerprint = digest
        if self._loaded is None:
            return
        if self._loaded.get("fingerprint") != digest:
            raise ConfigError(
                f"{self._path}: the checkpoint is of other rows or parameters; train with the same ones, or without "
                "--resume to start again"
            )
        self.finished, self.running, self._loaded = self._loaded["finished"], self._loaded["running"], None

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state of the model in training, if the last save is long enough ago."""
        if self._path is not None and time.monotonic() - self._saved_at >= _SAVE_INTERVAL_S:
            self._write(state())

    def add_finished(self, model: dict[str, Any] | None) -> None:
        """Add a trained model, or None for one that diverged; the next call to save writes it."""
        self.finished.append(model)
        self.running = None

    def save_finished(self) -> None:
        """Write the finished models now, so that a later run can export them without training."""
        self._write(None)

    def remove(self) -> None:
        """Delete the file, at the end of the run."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, state: dict[str, Any] | None) -> None:
        if self._path is None:
            return
        with atomic_file(self._path, overwrite=True) as part:
            torch.save({"fingerprint": self._fingerprint, "finished": self.finished, "running": state}, part)
        self._saved_at = time.monotonic()
