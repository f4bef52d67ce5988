"""VAEDetector: the trained model as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from anomaly_vae.bundle import Bundle, write_bundle
from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.rows import column_names, to_matrix, to_rows
from anomaly_vae.schema import Kind
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.gates import refuse_failed
from anomaly_vae.training.pipeline import train_model
from anomaly_vae.training.progress import training_progress

__all__ = ["VAEDetector"]


class VAEDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Anomaly detector that scores rows by log p(x) under a variational autoencoder.

    The defaults are meant to be left alone. Fit on normal rows; 20 % of them calibrate the threshold.

    Args:
        latent_dim: Dimensions of z, or "auto": half the columns, between 1 and 16.
        hidden: Widths of the hidden layers of encoder and decoder, or "auto".
        architecture: "mlp" (further kinds will come).
        decoder_variance: Of Gaussian heads: "learned" (one per column), "fixed" (the column's own) or "conditional"
            (given by z).
        likelihood: p(x|z) of numbers: "auto" (left to the search), "gaussian", "student_t", "logistic", "bernoulli" or
            "count"; columns of 0 and 1 and of categories have their own.
        column_transform: "standardise", or "auto" to bend skewed columns.
        columns: Kinds of columns that are not as their values suggest, by name, such as {"zip": "categorical"}.
        beta: Final weight of the KL term in the training loss; scores always use 1.
        kl_warmup: Fraction of the steps over which the KL weight rises from 0 to beta.
        free_bits: Nats a latent dimension may use before the KL term counts.
        masking: Share of the steps in which cells are hidden, so that rows with missing cells are scored well.
        trim_fraction: Share of the rows that may be anomalies, and are not trained on.
        search: "off" (one model), "fast" (two likelihoods, scored as a mixture) or "full" (more settings; the best by a
            criterion that needs no labels).
        ensemble: Models in the mixture that is scored: 1, 2, 4, 8, 16 or "auto".
        target_fpr: Share of normal rows that may be flagged.
        max_epochs: Limit in passes over the training rows, or None.
        max_steps: Limit in optimiser steps; "auto" takes 400 without a search and 900 with one.
        device: "auto" (CUDA where there is one) or a torch device.
        random_state: Seed, RandomState or None; the same seed gives the same model on one machine.
        verbose: 1 shows a progress bar on standard error.

    Attributes:
        offset_: The threshold, nats; ``decision_function`` is ``score_samples - offset_``.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, if ``fit`` got named columns.
        bundle_: The model bundle that ``save`` writes.

    Examples:
        >>> det = VAEDetector(random_state=0).fit(X)  # doctest: +SKIP
        >>> det.score_samples(X)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        latent_dim: int | Literal["auto"] = "auto",
        hidden: tuple[int, ...] | Literal["auto"] = "auto",
        architecture: str = "mlp",
        decoder_variance: str = "learned",
        likelihood: str = "auto",
        column_transform: str = "standardise",
        columns: Mapping[str, Kind] | None = None,
        beta: float = 1.0,
        kl_warmup: float = 0.3,
        free_bits: float = 0.0,
        masking: float = 0.1,
        trim_fraction: float = 0.0,
        search: str = "fast",
        ensemble: int | Literal["auto"] = "auto",
        target_fpr: float = 0.01,
        max_epochs: int | None = None,
        max_steps: int | Literal["auto"] = "auto",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.architecture = architecture
        self.decoder_variance = decoder_variance
        self.likelihood = likelihood
        self.column_transform = column_transform
        self.columns = columns
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.masking = masking
        self.trim_fraction = trim_fraction
        self.search = search
        self.ensemble = ensemble
        self.target_fpr = target_fpr
        self.max_epochs = max_epochs
        self.max_steps = max_steps
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> VAEDetector:  # noqa: N803, ARG002 (scikit-learn's names)
        """Train on normal rows and calibrate the threshold.

        Args:
            X: Array (N, D), DataFrame or Arrow table of numbers and texts; NaN, None and nulls are missing cells.
            y: Ignored.

        Raises:
            InvalidInput: Too few rows, infinite values, or columns that are neither numbers nor categories.
            ConfigError: A parameter that cannot be.
        """
        config = self._config()
        texts = frozenset(name for name, kind in config.columns.items() if kind == "categorical")
        names, rows, categories = to_matrix(X, texts)
        with training_progress(enabled=self.verbose > 0) as bars:
            model = train_model(
                rows, names, config, categories=categories, report=bars.report, on_calibrated=bars.on_calibrated
            )
        training = model.bundle.manifest.training
        if training.interrupted:
            warnings.warn("the training was interrupted; the best model so far was kept", stacklevel=2)
        for gate in training.gates:
            if gate.passed is False:
                warnings.warn(f"release gate failed: {gate.name}: {gate.detail}", stacklevel=2)
        self.bundle_: Bundle = model.bundle
        self._scorer: Scorer | None = Scorer(model.bundle)
        self.offset_ = model.bundle.manifest.calibration.threshold
        self.n_features_in_ = rows.shape[1]
        if column_names(X) is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def score_samples(self, X: Any) -> FloatArray:  # noqa: N803
        """log p(x) of each row, nats in data units, shape (N,).

        Of a row with missing cells, log p(x) made comparable with that of complete rows, so that one threshold serves
        all: see :class:`anomaly_vae.Scores`.
        """
        scorer = self.scorer()
        return scorer.score_rows(to_rows(X, scorer.schema, type(self).__name__)).score

    def decision_function(self, X: Any) -> FloatArray:  # noqa: N803
        """``score_samples(X) - offset_``: negative for anomalies, shape (N,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """+1 for normal rows, -1 for anomalies, shape (N,)."""
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def score(self, X: Any, y: object = None) -> float:  # noqa: N803, ARG002
        """Mean log p(x), so that ``cross_val_score`` and ``GridSearchCV`` work."""
        return float(self.score_samples(X).mean())

    def save(self, path: str | Path, *, overwrite: bool = False, force: bool = False) -> None:
        """Write the model bundle, a directory that ``anomaly_vae.load`` and the command line read.

        Raises:
            GateFailed: The model failed a release gate, and ``force`` is not given.
        """
        check_is_fitted(self, "bundle_")
        if not force:
            refuse_failed(self.bundle_.manifest.training.gates)
        write_bundle(self.bundle_, Path(path), overwrite=overwrite)

    def scorer(self) -> Scorer:
        """The torch-free scorer of the fitted model: all scores, p-values and flags of a row."""
        check_is_fitted(self, "bundle_")
        if self._scorer is None:
            self._scorer = Scorer(self.bundle_)
        return self._scorer

    def __getstate__(self) -> dict[str, Any]:
        """Leave the sessions out: they start again from the bundle."""
        state = dict(super().__getstate__())
        if "_scorer" in state:
            state["_scorer"] = None
        return state

    def _config(self) -> TrainConfig:
        parameters = {name: value for name, value in self.get_params().items() if name != "verbose"}
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = int(check_random_state(seed).randint(2**31))
        return TrainConfig(**(parameters | {"random_state": seed, "columns": self.columns or {}}))

    def __sklearn_tags__(self) -> Tags:
        """Missing cells and texts are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags
