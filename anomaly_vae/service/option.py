"""How a field of the settings is described and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from anomaly_vae.errors import ConfigError

__all__ = ["MAX_INT32", "Option", "option", "seconds", "size", "word"]

_MAX_SECONDS = 3_600.0  # chosen, not measured
MAX_INT32 = 2**31 - 1  # of protobuf's int32 and gRPC's channel options


@dataclass(frozen=True)
class Option:
    """The help text and the limits of a field.

    Attributes:
        help: The text of ``--help``.
        low, high: Smallest and largest value.
        choices: The allowed words.
        metavar: Name of the value in ``--help``; None takes the type's, or the choices.
        shown: How ``--help`` describes the default of None.
        flag: The option's name; None takes the field's.
    """

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    shown: str | None = None
    flag: str | None = None

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError if a value is outside the limits or not one of the choices."""
        if self.choices and value not in self.choices:
            raise ConfigError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:  # also for NaN
            unit = " seconds" if isinstance(value, float) else ""
            raise ConfigError(f"{name} must lie between {self.low:.15g} and {self.high:.15g}{unit}, got {value}")


def option(default: Any, help_: str, **more: Any) -> Any:
    """Make a field with a default and its :class:`Option`."""
    return field(default=default, metadata={"option": Option(help_, **more)})


def size(default: int, help_: str, low: int = 1) -> Any:
    """Make a field of a number of things: at least ``low``."""
    return option(default, help_, low=low, high=MAX_INT32)


def seconds(default: float, help_: str, low: float = 0.1) -> Any:
    """Make a field of a time in seconds."""
    return option(default, help_, low=low, high=_MAX_SECONDS)


def word(default: str, help_: str, *choices: str) -> Any:
    """Make a field of one of some words."""
    return option(default, help_, choices=choices)
