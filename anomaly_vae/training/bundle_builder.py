"""Trained models in, bundle out: export, check, calibrate."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.contents import CONTRAST_GRAPH
from anomaly_vae.bundle.files import Bundle, make_bundle
from anomaly_vae.bundle.golden import golden_samples
from anomaly_vae.bundle.manifest import Architecture, ContrastRecord, Estimator, Gate, Manifest, MemberRecord, Training
from anomaly_vae.bundle.members import open_contrast, open_members
from anomaly_vae.bundle.row_calibration import RowCalibration, calibrate_rows
from anomaly_vae.calibration import margins, usable_rank
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.adjustment import Adjustment
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.density.contrast import Contrast
from anomaly_vae.density.estimator import DensityEstimator, Precision
from anomaly_vae.density.member import Member
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.contrast import Contrast as FittedContrast
from anomaly_vae.training.contrast import contrast_graph, corruption_names, fit_contrast
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.fit import FittedModel, network_sizes
from anomaly_vae.training.gates import run_gates
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.missing_cells import fit_adjustment
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.nonsense import flags_nonsense, nonsense_rows
from anomaly_vae.training.onnx_check import check_onnx
from anomaly_vae.training.row_source import Parts, typical
from anomaly_vae.training.search import SearchResult
from anomaly_vae.training.starts import choose_extra_starts
from anomaly_vae.version import __version__

__all__ = ["BundleBuilder", "Thin"]

# Training rows that show how low usual scores are, at most. Chosen, not measured: it bounds the time.
_REFERENCE_ROWS = 1000

Kind = Literal["mlp", "conv1d", "conv2d"]

# From the scores of the calibration rows, nats, (n,), to the indices of those that count.
Thin = Callable[[FloatArray], NDArray[np.intp]]

# The standard error at which the sampling of a row ends, nats, and the most decoder evaluations of a row, as
# documented. The error is far below the spread of log p(x), which is 2 to 16 nats on ADBench tables.
_PRECISION = Precision(target_error=0.1, num_samples=4096)

# Noise scramblings, and points in each: they serve budgets up to 4,096.
_SCRAMBLINGS, _POINTS = 16, 256

# Share of normal rows, those with the lowest scores, that get the thorough search at once, at least, and the held-out
# rows, at most, that show where it lies. The share is twice the target rate of flags if that is more. Measured on 4
# ADBench tables: 80 to 100 % of the anomalies whose quick estimate is wrong have a lower score than 95 % of the normal
# rows.
_CAREFUL_SHARE, _CAREFUL_ROWS = 0.03, 2000

# Above every score, nats. Images need the thorough search, see anomaly_vae.training.starts.
_EVERY_ROW = 1e300

# Golden rows in the bundle; held-out rows, and samples of a row, in the comparison of ONNX and torch. Chosen, not
# measured: they bound the time of the checks, above all that of loading a bundle.
_GOLDEN_ROWS, _CHECKED_ROWS, _CHECKED_SAMPLES = 16, 32, 256


# Samples of the model that the contrast is trained against. Chosen, not measured: as many as the images of a small set.
_CONTRAST_SAMPLES = 2000


class BundleBuilder:
    """Exports, checks and calibrates trained models, and assembles their bundle."""

    def __init__(
        self,
        config: TrainConfig,
        schema: Schema,
        result: SearchResult,
        parts: Parts,
        thin: Thin | None = None,
    ) -> None:
        """Export the models.

        Args:
            config: Parameters with a seed.
            schema: The columns.
            result: The trained models.
            parts: The rows that trained, stopped and calibrate the models, data units.
            thin: Chooses the calibration rows that count by their scores, if rows depend on each other.
        """
        self._thin = thin
        self._config, self._schema, self._result = config, schema, result
        self._seed = int(config.random_state or 0)
        self._num_rows = len(parts.train)
        self._train, self._held_out, self._calibration = typical(parts.train), parts.held_out, parts.calibration
        self._fitted_contrast: FittedContrast | None = None
        self._contrast: Contrast | None = None
        self._records = tuple(map(_member_record, result.members))
        self._graphs = {
            name: data for m, member in enumerate(result.members) for name, data in export_graphs(member.vae, m).items()
        }
        latent_dim = max(record.architecture.latent_dim for record in self._records)
        self._noise = sobol_normal(_SCRAMBLINGS, _POINTS, latent_dim + 1, self._seed)
        members = open_members(schema, self._records, self._graphs)
        make_estimator = partial(_estimator, members, self._noise)
        self._extra_starts = choose_extra_starts(
            make_estimator, self._held_out, _PRECISION, images=schema.kind == "image"
        )
        self._estimator = make_estimator(self._extra_starts)

    def fit_contrast(self, report: Callable[[str, Progress], None] | None) -> None:
        """Train the classifier of images and add it to the bundle."""
        shape, member = self._schema.shape, self._estimator.members[0]
        if not isinstance(shape, ImageShape):
            raise TypeError("only images have a contrast")
        samples = sample_rows(self._estimator.members, _CONTRAST_SAMPLES, 1)
        progress = None if report is None else partial(report, "contrast")
        found = fit_contrast(member.features, shape, self._train, self._held_out, samples, self._seed, progress)
        self._fitted_contrast = found
        self._graphs[CONTRAST_GRAPH] = contrast_graph(found)
        self._contrast = open_contrast(self._graphs, member.features)

    def build(self, demotions: list[str], on_calibrated: Callable[[int], None] | None) -> Bundle:
        """Return the bundle; ``demotions`` are warnings about the novelty of the columns."""
        golden = sample_rows(self._estimator.members, _GOLDEN_ROWS, 0)
        onnx_error = self._check_onnx(golden)
        adjustment = fit_adjustment(self._estimator, self._train, self._calibration, _PRECISION, self._seed)
        careful_below = self._careful_below(adjustment)
        calibrated, gates = self._calibrate(adjustment, careful_below, demotions, on_calibrated)
        estimator = Estimator(
            **_PRECISION._asdict(),
            careful_below=careful_below,
            extra_starts=self._extra_starts,
            scramblings=_SCRAMBLINGS,
        )
        manifest = Manifest(
            created_by=f"anomaly_vae {__version__}",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            schema=calibrated.schema,
            members=self._records,
            adjustment=adjustment,
            estimator=estimator,
            calibration=calibrated.calibration,
            training=self._training_record(onnx_error, gates),
            contrast=self._contrast_record(),
            statistics=calibrated.statistics,
            files={},
        )
        return make_bundle(
            manifest,
            graphs=self._graphs,
            noise=self._noise,
            calibration=calibrated.scores,
            golden_rows=golden,
            golden_log_px=self._estimator.plain_log_px(golden, golden_samples(estimator)),
            contrast=calibrated.contrast,
            golden_contrast=self._contrasts(golden),
        )

    def _contrasts(self, rows: FloatArray) -> FloatArray | None:
        return None if self._contrast is None else self._contrast.of_rows(rows)

    def _contrast_record(self) -> ContrastRecord | None:
        found = self._fitted_contrast
        if found is None:
            return None
        return ContrastRecord(against=corruption_names(), steps=found.steps, held_out_loss=found.held_out_loss)

    def _check_onnx(self, golden: FloatArray) -> float:
        """Compare ONNX with torch on golden and held-out rows; calibration rows stay unused before calibration."""
        checked = np.concatenate([golden, self._held_out[:_CHECKED_ROWS]])
        return check_onnx([member.vae for member in self._result.members], self._estimator, checked, _CHECKED_SAMPLES)

    def _careful_below(self, adjustment: Adjustment) -> float:
        """Return the score below which rows get the thorough search, from held-out rows; of images, all do."""
        if self._schema.kind == "image":
            return _EVERY_ROW
        rows = self._held_out[:_CAREFUL_ROWS]
        scores = self._scores(rows, adjustment)
        return float(np.quantile(scores, min(max(_CAREFUL_SHARE, 2.0 * self._config.target_fpr), 0.5)))

    def _calibrate(
        self,
        adjustment: Adjustment,
        careful_below: float,
        demotions: list[str],
        on_calibrated: Callable[[int], None] | None,
    ) -> tuple[RowCalibration, tuple[Gate, ...]]:
        """Score the calibration rows; return the calibration and the results of the gates."""
        missing = np.isnan(self._calibration[:, self._schema.modelled])
        limits = adjustment.backward(careful_below, missing)
        estimates = self._estimator.estimate(self._calibration, _PRECISION, careful_below=limits, on_rows=on_calibrated)
        scores = adjustment.forward(estimates.log_px, missing)
        counted, own, tail = np.arange(len(scores)), scores, self._config.tail_for(self._schema.kind)
        if self._thin is not None:
            counted = self._thin(self._ranked(scores))
            own = self._lowered(scores[counted], adjustment) if tail == "low" else scores[counted]
        calibrated = calibrate_rows(
            self._schema,
            self._calibration[counted],
            own,
            self._config.target_fpr,
            demotions=demotions,
            tail=tail,
            contrast=self._contrasts(self._calibration[counted]),
        )
        for text in calibrated.warnings:
            warn_caller(text)
        gates = run_gates(
            self._result.members,
            self._estimator,
            self._train,
            self._held_out,
            estimates,
            scores[calibrated.used & ~calibrated.lowest] if self._thin is None else None,
            precision=_PRECISION,
        )
        nonsense = nonsense_rows(self._schema, self._train, self._held_out)
        low, high = calibrated.calibration.threshold, calibrated.calibration.upper_threshold
        is_beyond = margins(self._scores(nonsense, adjustment), low, high) < 0.0
        contrasts = self._contrasts(nonsense)
        if contrasts is not None:
            is_beyond |= contrasts < (calibrated.calibration.contrast_threshold or 0.0)
        return calibrated, (*gates, flags_nonsense(is_beyond | self._schema.ranks_lowest(nonsense), self._schema))

    def _lowered(self, scores: FloatArray, adjustment: Adjustment) -> FloatArray:
        """Return sorted calibration scores (n,) whose lowest ones are at most the quantiles of training rows.

        Few independent rows may all be more normal than usual. Lower calibration scores only make p-values larger, so
        their guarantee stays, and about the target rate of the training rows is flagged at most.
        """
        rate, k = self._config.target_fpr, usable_rank(len(scores), self._config.target_fpr)
        chosen = np.linspace(0, len(self._train) - 1, min(len(self._train), _REFERENCE_ROWS)).astype(np.intp)
        reference = self._scores(self._train[chosen], adjustment)
        lowered = scores.copy()
        lowered[:k] = np.minimum(scores[:k], np.quantile(reference, rate * np.arange(1, k + 1) / k, method="lower"))
        return lowered

    def _ranked(self, scores: FloatArray) -> FloatArray:
        """Return the scores of the calibration rows, minus infinity for those that rank below all others."""
        return np.where(self._schema.ranks_lowest(self._calibration), -np.inf, scores)

    def _scores(self, rows: FloatArray, adjustment: Adjustment) -> FloatArray:
        missing = np.isnan(rows[:, self._schema.modelled])
        return adjustment.forward(self._estimator.estimate(rows, _PRECISION).log_px, missing)

    def _training_record(self, onnx_error: float, gates: tuple[Gate, ...]) -> Training:
        """Return the manifest's record of the training; its steps and ELBOs are those of the best model."""
        best = self._result.members[0]
        return Training(
            num_rows=self._num_rows,
            num_held_out=len(self._held_out),
            steps=best.result.steps,
            best_step=best.result.best_step,
            held_out_elbo=best.result.held_out.elbo + best.elbo_offset,
            held_out_kl=best.result.held_out.kl,
            interrupted=self._result.interrupted,
            onnx_error=onnx_error,
            gates=gates,
            candidates=self._result.candidates,
            config=self._config.to_dict(),
            versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        )


def _estimator(members: list[Member], noise: NDArray[np.float32], extra_starts: int) -> DensityEstimator:
    return DensityEstimator(members, noise, extra_starts=extra_starts)


def _member_record(member: FittedModel) -> MemberRecord:
    """Return the manifest's entry of a model."""
    config = member.config
    hidden, latent_dim = network_sizes(config)
    return MemberRecord(
        architecture=Architecture(
            kind=cast("Kind", config.architecture), latent_dim=latent_dim, hidden=hidden, residual=config.residual
        ),
        prior=member.vae.prior.record(),
        columns=member.vae.head.column_models(),
    )
