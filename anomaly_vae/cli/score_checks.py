"""What is checked of the options of ``anomaly-vae score`` before anything is opened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.batch import Explaining
    from anomaly_vae.score_options import ScoreOptions

__all__ = ["explaining_of", "with_option_names"]

_PYTHON_NAMES = re.compile(r"\b(num_samples|max_std_error|target_fpr|tail|flag_only)\b")


def explaining_of(top: int | None, every: bool, scoring: ScoreOptions, output: str) -> Explaining | None:
    """Return which rows are explained; raise ConfigError if the other options leave none, or no place for texts."""
    from anomaly_vae.batch import Explaining

    if top is None:
        if every:
            raise ConfigError("--explain-all needs --explain K, the number of columns to name of each row")
        return None
    explaining = Explaining(top=top, every=every)
    explaining.check(scoring)
    if output.lower().endswith(".npy"):
        raise ConfigError(f"--explain writes texts, and {output} holds only numbers; write a .csv or .parquet file")
    return explaining


def with_option_names(text: str) -> str:
    """Replace the Python names of options by those of the command line."""
    return _PYTHON_NAMES.sub(lambda name: "--" + name[0].replace("_", "-"), text)
