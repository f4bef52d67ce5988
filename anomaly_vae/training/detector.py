"""VAEDetector: the trained model as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.files import Bundle, write_bundle
from anomaly_vae.calibration import margins
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.plan import Wanted
from anomaly_vae.explained import Why
from anomaly_vae.scorer import Scorer
from anomaly_vae.series.grid import Panel
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.detector_data import explanations_of_series, fit_data, rows_of, scores_of_series
from anomaly_vae.training.gates import refuse_failed
from anomaly_vae.training.progress_bar import training_progress

__all__ = ["VAEDetector"]


class VAEDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Anomaly detector that scores rows, time series or images by log p(x) under a variational autoencoder.

    The defaults suit most data. Fit on normal rows; 20 % of them calibrate the threshold. With ``window``, each row is
    one step of a time series, and its score is that of the window that ends there. Arrays with three axes or more are
    images, or, with ``window``, windows that do not depend on each other.

    Args:
        latent_dim: Dimensions of z, or "auto": as many as columns, at most 16, without those that stay unused.
        hidden: Widths of the hidden layers of encoder and decoder, or "auto".
        architecture: Kind of network: "mlp", "conv1d" for windows of series, "conv2d" for images; "auto" chooses by the
            data.
        residual: Whether convolutions have residual blocks.
        dropout: Share of channels that a training step drops in the encoder, with convolutions.
        window: Steps of a window of a time series, "auto" for a length by the data's period, or None for a table.
        stride: Steps from one training window to the next.
        timestamp: The column with the times of the steps; None for the only column of dates and times. Without one,
            each row is one step.
        series: The column that names the series of each row; None if all rows are one series.
        prior: p(z): "normal", N(0, I), or "mixture", a mixture of Gaussians that is learned; "auto" uses the mixture.
        decoder_variance: Variance of Gaussian heads: "learned" (one per column), "fixed" (the column's own variance) or
            "conditional" (depends on z); "auto" is "conditional" for images, else "learned".
        likelihood: p(x|z) of numeric columns: "auto" (the search chooses), "gaussian", "student_t", "logistic",
            "bernoulli", "count" or "pixel" (images in bytes). Binary and categorical columns have heads of their own.
        column_transform: "auto" for a power transform (Yeo-Johnson) of skewed columns, or "standardise" for none.
        columns: Kinds of columns by name, if the values suggest a wrong kind, such as {"zip": "categorical"}; "exclude"
            leaves a column out; ["time_of_day", "trend"] are parts of a time to learn.
        missing_values: Texts or numbers that mean a missing cell, beside the usual ones such as NA.
        beta: Final weight of the KL term in the training loss. Scores always use 1.
        kl_warmup: Fraction of the steps over which the KL weight rises from 0 to beta.
        free_bits: Nats of KL that each latent dimension may use at no cost.
        masking: Share of the steps that hide random cells, so that the encoder learns to handle missing cells.
        trim_fraction: Share of the rows of each step, the least likely, to leave out. For rows that contain anomalies.
        search: "off" (one model), "fast" (an ensemble of two likelihoods) or "full" (more settings; the best ones by a
            criterion that needs no labels).
        ensemble: Number of models that are scored together: 1, 2, 4, 8, 16, or "auto" (chosen by ``search``).
        target_fpr: Target false-positive rate, the share of normal rows that may be flagged.
        tail: "low": rows with a low score are anomalies. "both": also those with a higher score than normal rows have,
            and each side gets half of target_fpr. "auto": "both" for images, else "low".
        contrast: For images: whether a classifier that tells them from corrupted ones adds a second score, the
            contrast, which shares target_fpr: "on", "off", or "auto" for 100 training images or more.
        normalisation: "batch": convolutions have batch normalisation in training. "none".
        max_epochs: Limit in passes over the training rows, or None.
        max_steps: Limit in optimiser steps; "auto" takes 2.5 for each training row, between 2,000 and 8,000; half of
            that without a search. Windows get 1,000 to 2,000 steps, images 1,000 to 4,000.
        device: "auto" (CUDA if available, else the CPU) or the name of a torch device.
        random_state: Seed, RandomState or None (a random seed). The same seed gives the same model on the same machine.
        verbose: 0, or 1 to show a progress bar on standard error.

    Attributes:
        offset_: The threshold, nats; ``decision_function`` is ``score_samples - offset_``, except with two thresholds.
        n_features_in_: Number of columns.
        feature_names_in_: Column names, if the table passed to ``fit`` has them.
        bundle_: The model bundle that ``save`` writes.

    Examples:
        >>> import numpy as np
        >>> from anomaly_vae import VAEDetector
        >>> X = np.random.default_rng(0).normal(size=(300, 3))
        >>> det = VAEDetector(search="off", max_steps=100, target_fpr=0.05, random_state=0).fit(X)
        >>> det.predict([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
        array([ 1, -1])
        >>> det.save("detector")
    """

    def __init__(
        self,
        *,
        latent_dim: int | Literal["auto"] = "auto",
        hidden: tuple[int, ...] | Literal["auto"] = "auto",
        architecture: str = "auto",
        residual: bool = False,
        dropout: float = 0.0,
        window: int | Literal["auto"] | None = None,
        stride: int = 1,
        timestamp: str | None = None,
        series: str | None = None,
        prior: str = "auto",
        decoder_variance: str = "auto",
        likelihood: str = "auto",
        column_transform: str = "auto",
        columns: Mapping[str, Wanted] | None = None,
        missing_values: Sequence[str | float] = (),
        beta: float = 1.0,
        kl_warmup: float = 0.3,
        free_bits: float = 0.0,
        masking: float = 0.1,
        trim_fraction: float = 0.0,
        search: str = "fast",
        ensemble: int | Literal["auto"] = "auto",
        target_fpr: float = 0.01,
        tail: str = "auto",
        contrast: str = "auto",
        normalisation: str = "none",
        max_epochs: int | None = None,
        max_steps: int | Literal["auto"] = "auto",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.architecture = architecture
        self.residual = residual
        self.dropout = dropout
        self.window = window
        self.stride = stride
        self.timestamp = timestamp
        self.series = series
        self.prior = prior
        self.decoder_variance = decoder_variance
        self.likelihood = likelihood
        self.column_transform = column_transform
        self.columns = columns
        self.missing_values = missing_values
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.masking = masking
        self.trim_fraction = trim_fraction
        self.search = search
        self.ensemble = ensemble
        self.target_fpr = target_fpr
        self.tail = tail
        self.contrast = contrast
        self.normalisation = normalisation
        self.max_epochs = max_epochs
        self.max_steps = max_steps
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> VAEDetector:  # noqa: N803, ARG002 (scikit-learn's names)
        """Train on normal rows and calibrate the threshold.

        Args:
            X: Array (N, D), DataFrame or Arrow table of numbers and texts; NaN, None and nulls are missing cells. With
                ``window``: series, one step per row, as an array (T,) or (T, channels) or a table, perhaps with a
                column of times and one with the names of several series; or independent windows (N, length,
                channels). Without it, an array (N, height, width) or with channels holds images.
            y: Ignored.

        Raises:
            InvalidInput: Too few rows, infinite values, or columns that are neither numeric nor categorical.
            ConfigError: A parameter with an invalid value.
        """
        config = self._config()
        with training_progress(enabled=self.verbose > 0) as bars:
            model, num_features, names = fit_data(X, config, bars)
        training = model.bundle.manifest.training
        if training.interrupted:
            warn_caller("the training was interrupted; the best model so far was kept")
        for gate in training.gates:
            if gate.passed is False:
                warn_caller(f"release gate failed: {gate.name}: {gate.detail}")
        self.bundle_: Bundle = model.bundle
        self._scorer: Scorer | None = Scorer(model.bundle)
        self.offset_ = model.bundle.manifest.calibration.threshold
        self.n_features_in_ = num_features
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def score_samples(self, X: Any) -> FloatArray:  # noqa: N803
        """Return log p(x) of each row, nats in data units, shape (N,).

        For a row with missing cells, the value is adjusted to the scale of complete rows, so that one threshold is
        valid for all rows: see ``score`` of ``anomaly_vae.Scores``.

        Args:
            X: Rows in data units: an array (N, D) or a table with the columns of ``fit``; series, windows or images as
                there. A row of a series has the score of the window that ends there. At the first rows and after long
                gaps none ends, and they take the score of the next window of their series; for reasons and for scores
                of the steps themselves, use ``scorer()`` with ``anomaly_vae.series``. Rows of a series that is too
                short for a window have the score ``offset_``.
        """
        scorer = self.scorer()
        rows = rows_of(X, scorer.schema, type(self).__name__)
        if isinstance(rows, Panel):
            return scores_of_series(scorer, rows, self.offset_).score
        return scorer.score_rows(rows).score

    def decision_function(self, X: Any) -> FloatArray:  # noqa: N803
        """Return ``score_samples(X) - offset_``: negative for anomalies, nats, shape (N,).

        With two thresholds (the tail "both"), it is the distance to the nearer one, negative outside of both.

        Args:
            X: As for ``score_samples``.
        """
        return margins(self.score_samples(X), *self.scorer().thresholds())

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Return +1 for normal rows and -1 for anomalies, shape (N,).

        ``anomaly_vae.Scorer.flag`` decides; with one threshold it needs far fewer samples than ``score_samples``.

        Args:
            X: As for ``score_samples``.
        """
        scorer = self.scorer()
        rows = rows_of(X, scorer.schema, type(self).__name__)
        if isinstance(rows, Panel):
            return np.where(scores_of_series(scorer, rows, self.offset_).is_anomaly, -1, 1)
        return np.where(scorer.flag_rows(rows).is_anomaly, -1, 1)

    def explain(self, X: Any, *, top: int = 3) -> list[list[Why]]:  # noqa: N803
        """Say why rows are anomalies, as ``anomaly_vae.Scorer.explain``: for each row its columns, most to blame first.

        Args:
            X: As for ``score_samples``. Only few rows: each costs as much as many scores. A row of a series has the
                list of the window that ends there, or of the next one; it is empty if there is none.
            top: Columns of each row.
        """
        scorer = self.scorer()
        rows = rows_of(X, scorer.schema, type(self).__name__)
        if isinstance(rows, Panel):
            return explanations_of_series(scorer, rows, top)
        return scorer.explain_rows(rows, top=top)

    def score(self, X: Any, y: object = None) -> float:  # noqa: N803, ARG002
        """Return the mean of ``score_samples``, nats, so that ``cross_val_score`` and ``GridSearchCV`` work.

        Args:
            X: As for ``score_samples``.
            y: Ignored.
        """
        return float(self.score_samples(X).mean())

    def save(self, path: str | Path, *, overwrite: bool = False, force: bool = False) -> None:
        """Write the model bundle, a directory that ``anomaly_vae.load`` and the command line read.

        Args:
            path: The directory.
            overwrite: Replace a bundle that exists there.
            force: Write a model that failed a release gate.

        Raises:
            GateFailed: The model failed a release gate, and ``force`` is False.
            ConfigError: The path exists, and ``overwrite`` is False.
        """
        check_is_fitted(self, "bundle_")
        if not force:
            refuse_failed(self.bundle_.manifest.training.gates)
        write_bundle(self.bundle_, Path(path), overwrite=overwrite)

    def scorer(self) -> Scorer:
        """Return the scorer of the fitted model, which gives all scores, p-values and flags. It does not need torch."""
        check_is_fitted(self, "bundle_")
        if self._scorer is None:
            self._scorer = Scorer(self.bundle_)
        return self._scorer

    def __getstate__(self) -> dict[str, Any]:
        """Leave the scorer out: it cannot be pickled, and is built again from the bundle."""
        state = dict(super().__getstate__())
        if "_scorer" in state:
            state["_scorer"] = None
        return state

    def _config(self) -> TrainConfig:
        """Return the validated parameters; a RandomState gives a seed."""
        parameters = {name: value for name, value in self.get_params().items() if name != "verbose"}
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = int(check_random_state(seed).randint(2**31))
        return TrainConfig(**(parameters | {"random_state": seed, "columns": self.columns or {}}))

    def __sklearn_tags__(self) -> Tags:
        """Declare that missing cells, texts and categories are accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags
