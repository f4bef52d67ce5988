"""The options of a scoring call and their checks, the same for the scorer, the clients and the command line."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_vae.caller import warn_caller
from anomaly_vae.errors import ConfigError
from anomaly_vae.record import TAILS, Tail

__all__ = ["ScoreOptions", "check_budget", "check_rate", "check_tail", "is_real", "shortened", "warn_uncalibrated"]

# Characters of a wrong value that an error message repeats. Chosen, not measured: it keeps the message on one line.
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What to compute for each row.

    Attributes:
        num_samples: A fixed number of decoder evaluations per row. None, or the number of the calibration, for the rule
            of the calibration: as many as the error target needs. With ``max_std_error`` it is the most.
        max_std_error: Another error target: sampling of a row ends when the standard error of ``log_px`` is at most
            this, nats. None for the target of the calibration.
        target_fpr: False-positive rate of the flags, between 0 and 1; None for the rate of the calibration.
        tail: Whether only low scores are anomalies ("low"), or also high ones ("both"); None for the calibration's.
        flag_only: Compute only the flags, by the cascade.
    """

    num_samples: int | None = None
    max_std_error: float | None = None
    target_fpr: float | None = None
    tail: Tail | None = None
    flag_only: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError if a value is wrong or two options exclude each other."""
        error, rate = self.max_std_error, self.target_fpr
        if error is not None and not (is_real(error) and 0 < error < math.inf):
            raise ConfigError(f"max_std_error must be a positive number of nats, got {shortened(error)}")
        if rate is not None:
            check_rate("target_fpr", rate)
        if self.tail is not None:
            check_tail(self.tail)
        if self.flag_only and (self.num_samples is not None or error is not None):
            raise ConfigError(
                "flag_only decides by the rule of the calibration; leave out num_samples and max_std_error"
            )
        if error is not None and rate is not None:
            raise ConfigError("max_std_error gives no flags; leave out target_fpr")
        if error is not None and self.tail is not None:
            raise ConfigError("max_std_error gives no flags; leave out tail")

    def uncalibrated_reason(self, calibrated_samples: int) -> str | None:
        """Return why these options give no p-values and no flags; None if they give both.

        Args:
            calibrated_samples: Most decoder evaluations per row in the calibration.
        """
        if self.max_std_error is not None:
            return "max_std_error is not the error target of the calibration"
        if self.num_samples is not None and self.num_samples != calibrated_samples:
            return f"num_samples is {self.num_samples}, the calibration used {calibrated_samples}"
        return None


def warn_uncalibrated(options: ScoreOptions, calibrated_samples: int) -> None:
    """Warn if the options give no p-values and no flags; the warning points at the user's line."""
    reason = options.uncalibrated_reason(calibrated_samples)
    if reason is not None:
        warn_caller(f"{reason}: there is no p-value and no flag")


def check_budget(num_samples: int, budgets: Sequence[int]) -> int:
    """Return ``num_samples``; raise ConfigError if it is not one of the model's budgets."""
    if num_samples not in budgets:
        raise ConfigError(f"num_samples must be one of {', '.join(map(str, budgets))}, got {shortened(num_samples)}")
    return int(num_samples)


def check_rate(name: str, value: Any) -> float:
    """Return the value as a float; raise ConfigError if it is not a number between 0 and 1, both excluded."""
    if not is_real(value) or not 0 < value < 1:
        raise ConfigError(f"{name} must be a number between 0 and 1 (both excluded), got {shortened(value)}")
    return float(value)


def check_tail(value: Any) -> Tail:
    """Return the value; raise ConfigError if it is no tail."""
    for tail in TAILS:
        if value == tail:
            return tail
    raise ConfigError(f"tail must be {' or '.join(map(repr, TAILS))}, got {shortened(value)}")


def is_real(value: object) -> bool:
    """Return True for a real number; a bool is not one here."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def shortened(value: object) -> str:
    """Return ``repr(value)``, cut after 40 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
