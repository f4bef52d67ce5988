"""How much may wait, shared among callers so that no caller can take what another needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

__all__ = ["Room"]


class Room:
    """A bounded amount of something, half of which is kept for callers that hold nothing.

    Such a caller may have one request, of any size that there is room for. A caller that holds something may hold at
    most as much as is left of the other half: one caller alone gets a quarter of it all, two get a sixth each. (Dynamic
    thresholds, Choudhury & Hahne 1998, which alone would let a row of greedy callers take all, each half of what the
    one before has left.)

    Attributes:
        limit: The most that all may hold.
        total: What all hold now.
    """

    def __init__(self, limit: int, what: str) -> None:
        """All is free.

        Args:
            limit: The most that all may hold.
            what: Says in a refusal what is held: "rows are waiting".
        """
        self.limit = limit
        self.total = 0
        self._what = what
        self._held: Counter[Hashable] = Counter()

    def refusal(self, caller: Hashable, amount: int) -> str | None:
        """Why a caller cannot have this amount now, or None if it can."""
        if self.total + amount > self.limit:
            return f"{self.total} {self._what}, at most {self.limit} may; send it again later"
        held, shared = self._held[caller], self.limit // 2 - self.total
        if held and held + amount > shared:
            return (
                f"{held} {self._what} for this caller, who may have no more than are left of what all share, "
                f"{max(shared, 0)}; send it again later"
            )
        return None

    def take(self, caller: Hashable, amount: int) -> None:
        """Give a caller this amount, whether it is too much or not."""
        self.total += amount
        self._held[caller] += amount

    def give_back(self, caller: Hashable, amount: int) -> None:
        """Take this amount back from a caller."""
        self.total -= amount
        self._held[caller] -= amount
        if self._held[caller] <= 0:
            del self._held[caller]
