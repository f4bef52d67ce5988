"""A limit on an amount that callers share, so that no caller can take what another needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

__all__ = ["SharedLimit"]


class SharedLimit:
    """A limited amount, half of which is reserved for callers that hold nothing.

    A caller that holds nothing may take any amount that is left. A caller that holds something may hold at most what is
    left of the other half: one caller alone gets a quarter of the limit, two callers get a sixth each. These are the
    dynamic thresholds of Choudhury & Hahne (1998). Without the reserved half, many callers could together take
    everything: each would take half of what is left.

    Attributes:
        limit: The most that all callers together may hold.
        total: What all callers hold now.
    """

    def __init__(self, limit: int, what: str) -> None:
        """Start with nothing held.

        Args:
            limit: The most that all callers together may hold.
            what: What is held, for the text of a refusal: "rows are waiting".
        """
        self.limit = limit
        self.total = 0
        self._what = what
        self._held: Counter[Hashable] = Counter()

    def refusal(self, caller: Hashable, amount: int) -> str | None:
        """Return why a caller cannot take this amount now, or None if it can."""
        if self.total + amount > self.limit:
            return f"{self.total} {self._what}, at most {self.limit} may; send it again later"
        held, shared = self._held[caller], self.limit // 2 - self.total
        if held and held + amount > shared:
            return (
                f"{held} {self._what} for this caller; it may have at most the {max(shared, 0)} left of the half "
                "that callers share; send it again later"
            )
        return None

    def take(self, caller: Hashable, amount: int) -> None:
        """Add this amount to what a caller holds, without a check."""
        self.total += amount
        self._held[caller] += amount

    def give_back(self, caller: Hashable, amount: int) -> None:
        """Subtract this amount from what a caller holds."""
        self.total -= amount
        self._held[caller] -= amount
        if self._held[caller] <= 0:
            del self._held[caller]
