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
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.plan import Wanted
from anomaly_vae.columns.rows import to_rows, to_training_table
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.gates import refuse_failed
from anomaly_vae.training.pipeline import train_table
from anomaly_vae.training.progress_bar import training_progress

__all__ = ["VAEDetector"]


class VAEDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Anomaly detector that scores rows by log p(x) under a variational autoencoder.

    The defaults suit most tables. Fit on normal rows; 20 % of them calibrate the threshold.

    Args:
        latent_dim: Dimensions of z, or "auto": as many as columns, at most 16, without those that stay unused.
        hidden: Widths of the hidden layers of encoder and decoder, or "auto".
        architecture: Kind of network: "mlp".
        prior: p(z): "normal", N(0, I), or "mixture", a mixture of Gaussians that is learned; "auto" uses the mixture.
        decoder_variance: Variance of Gaussian heads: "learned" (one per column), "fixed" (the column's own variance) or
            "conditional" (depends on z).
        likelihood: p(x|z) of numeric columns: "auto" (the search chooses), "gaussian", "student_t", "logistic",
            "bernoulli" or "count". Binary and categorical columns have heads of their own.
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
        max_epochs: Limit in passes over the training rows, or None.
        max_steps: Limit in optimiser steps; "auto" takes 2.5 for each training row, between 2,000 and 8,000; half of
            that without a search.
        device: "auto" (CUDA if available, else the CPU) or the name of a torch device.
        random_state: Seed, RandomState or None (a random seed). The same seed gives the same model on the same machine.
        verbose: 0, or 1 to show a progress bar on standard error.

    Attributes:
        offset_: The threshold, nats; ``decision_function`` is ``score_samples - offset_``.
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
        architecture: str = "mlp",
        prior: str = "auto",
        decoder_variance: str = "learned",
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
        max_epochs: int | None = None,
        max_steps: int | Literal["auto"] = "auto",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.architecture = architecture
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
            InvalidInput: Too few rows, infinite values, or columns that are neither numeric nor categorical.
            ConfigError: A parameter with an invalid value.
        """
        config = self._config()
        table = to_training_table(X, config.columns, config.missing_values)
        with training_progress(enabled=self.verbose > 0) as bars:
            model = train_table(table, config, report=bars.report, on_calibrated=bars.on_calibrated)
        training = model.bundle.manifest.training
        if training.interrupted:
            warn_caller("the training was interrupted; the best model so far was kept")
        for gate in training.gates:
            if gate.passed is False:
                warn_caller(f"release gate failed: {gate.name}: {gate.detail}")
        self.bundle_: Bundle = model.bundle
        self._scorer: Scorer | None = Scorer(model.bundle)
        self.offset_ = model.bundle.manifest.calibration.threshold
        self.n_features_in_ = len(table.inputs)
        if table.has_names:
            self.feature_names_in_ = np.array([each.name for each in table.inputs], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def score_samples(self, X: Any) -> FloatArray:  # noqa: N803
        """Return log p(x) of each row, nats in data units, shape (N,).

        For a row with missing cells, the value is adjusted to the scale of complete rows, so that one threshold is
        valid for all rows: see ``score`` of ``anomaly_vae.Scores``.

        Args:
            X: Rows in data units: an array (N, D) or a table with the columns of ``fit``.
        """
        scorer = self.scorer()
        return scorer.score_rows(to_rows(X, scorer.schema, type(self).__name__)).score

    def decision_function(self, X: Any) -> FloatArray:  # noqa: N803
        """Return ``score_samples(X) - offset_``: negative for anomalies, nats, shape (N,).

        Args:
            X: As for ``score_samples``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Return +1 for normal rows and -1 for anomalies, shape (N,).

        The cascade of ``anomaly_vae.Scorer.flag`` decides, with far fewer samples than ``score_samples`` takes.

        Args:
            X: As for ``score_samples``.
        """
        scorer = self.scorer()
        flags = scorer.flag_rows(to_rows(X, scorer.schema, type(self).__name__))
        return np.where(flags.is_anomaly, -1, 1)

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
