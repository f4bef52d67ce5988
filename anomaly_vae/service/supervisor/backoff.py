"""How long to wait before a worker is started again."""

from __future__ import annotations

__all__ = ["Backoff"]

# Seconds. Chosen, not measured: a worker starts in about 1 s, and one that fails at once should not take a core for
# its attempts.
_FIRST_S, _LARGEST_S = 0.5, 10.0
_HEALTHY_S = 30.0  # after this time in service, a death counts as the first again


class Backoff:
    """0 for the first death, then 0.5 s, doubling to 10 s."""

    def __init__(self) -> None:
        """Start without deaths."""
        self._deaths = 0

    def wait_s(self, served_s: float) -> float:
        """Return the seconds to wait after a death.

        Args:
            served_s: Seconds that the process was ready.
        """
        if served_s >= _HEALTHY_S:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return float(min(_FIRST_S * 2.0 ** min(self._deaths - 2, 16), _LARGEST_S))

    @property
    def is_loop(self) -> bool:
        """Whether the worker died several times without a healthy time in between."""
        return self._deaths > 2
