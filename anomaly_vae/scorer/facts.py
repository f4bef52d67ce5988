"""What a model says about itself: columns, thresholds, and how its calibration scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from anomaly_vae.bundle.files import Bundle
from anomaly_vae.calibration import PValueGrid
from anomaly_vae.columns.schema import Schema
from anomaly_vae.density.estimator import Precision
from anomaly_vae.record import Tail

__all__ = ["ModelFacts"]


class ModelFacts:
    """The facts of a bundle's manifest as properties.

    Attributes:
        bundle: The model.
        path: The directory that it came from, absolute; None for a bundle in memory.
    """

    bundle: Bundle
    path: Path | None

    def __repr__(self) -> str:
        """Return where the model comes from, and what decides a flag."""
        manifest = self.bundle.manifest
        return (
            f"{type(self).__name__}({'' if self.path is None else f'path={str(self.path)!r}, '}"
            f"digest='{self.bundle.digest[:12]}', "
            f"columns={len(self.schema.columns)}, members={len(manifest.members)}, threshold={self.threshold:.4f}, "
            f"{'' if self.upper_threshold is None else f'upper_threshold={self.upper_threshold:.4f}, '}"
            f"target_fpr={manifest.calibration.target_fpr:g})"
        )

    @property
    def schema(self) -> Schema:
        """The columns; ``schema.names`` lists them."""
        return self.bundle.manifest.schema

    @property
    def threshold(self) -> float:
        """The threshold, nats in data units: a row is an anomaly if its score is strictly below it."""
        return self.bundle.manifest.calibration.threshold

    @property
    def upper_threshold(self) -> float | None:
        """The upper threshold, nats: a row is also an anomaly if its score is strictly above it. None without one."""
        return self.bundle.manifest.calibration.upper_threshold

    @property
    def tail(self) -> Tail:
        """Whether only low scores are anomalies ("low"), or also high ones ("both"), as plain images may have."""
        return self.bundle.manifest.calibration.tail

    @property
    def has_contrast(self) -> bool:
        """Whether rows have a contrast beside the score, as those of most models of images have."""
        return self.bundle.manifest.contrast is not None

    @property
    def contrast_threshold(self) -> float | None:
        """The threshold of the contrast, nats: a row is also an anomaly if its contrast is strictly below it."""
        return self.bundle.manifest.calibration.contrast_threshold

    def p_value_grid(self, *, tail: Tail | None = None) -> PValueGrid:
        """Return the values that p-values can have.

        Args:
            tail: As for ``score``.
        """
        calibration = self.bundle.manifest.calibration
        return PValueGrid.of(
            calibration.num_rows, calibration.num_novel, tail or calibration.tail, contrast=self.has_contrast
        )

    @property
    def num_samples(self) -> int:
        """Most decoder evaluations per row in the calibration."""
        return self.bundle.manifest.estimator.num_samples

    @property
    def target_error(self) -> float:
        """The standard error at which the sampling of a row ends, nats."""
        return self.bundle.manifest.estimator.target_error

    @property
    def precision(self) -> Precision:
        """The rule of the calibration: the error target and the cap."""
        return Precision(self.target_error, self.num_samples)

    @property
    def info(self) -> dict[str, Any]:
        """The manifest as plain Python values, with the ``bundle_digest``: ``anomaly-vae inspect --json`` prints it."""
        return {"bundle_digest": self.bundle.digest, **msgspec.to_builtins(self.bundle.manifest)}
