"""Who makes a call, and what they may do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["NO_TOKEN", "Caller", "Priority"]


class Priority(enum.StrEnum):
    """A class of callers. While online callers wait, batch callers get little of the compute time."""

    ONLINE = "online"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller, as the token file describes it.

    Attributes:
        name: The name of the token; "-" without one.
        priority: The class, which the metadata of a call may lower.
        rows_per_second: Most rows in a second, over all connections; None for any number.
        outstanding_rows: Most rows admitted and not answered, over all connections; None for any number.
        admin: Whether the caller may change the served models.
    """

    name: str = "-"
    priority: Priority = Priority.ONLINE
    rows_per_second: int | None = None
    outstanding_rows: int | None = None
    admin: bool = False


NO_TOKEN = Caller()
