"""Which regions of a row are to blame for its surprise, and which of them share it.

1. A quick look at every region of the row: a column of a table, some steps of a window, a square of an image.
2. A close look at those that seem the most surprising: the row without them is scored like any other row.
3. If the row is still an anomaly without the first, all others are looked at again without it: values may be strange
   only together (greedy search). And those that are no longer surprising without the first share its surprise.

References:
    Siddiqui et al., Sequential Feature Explanations for Anomaly Detection (2019): greedy search with marginals
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scorer.known import Known
from anomaly_vae.scorer.surprises import Surprise, Surprises

__all__ = ["Blame", "blame"]

# Least number of regions that get a close look: a quick look may mistake their order. Chosen.
_LEAST = 3

# Regions beside these whose surprise is estimated closely, but not what was expected there. Chosen.
_SPARE = 1

# Excess from which on a region is worth a second look, nats. Chosen: chance gives 4.6 nats to 1 % of the cells.
_SURPRISING = 3.0

# Regions share a surprise if leaving one of them out removes this share of the other's excess. Chosen.
_SHARED = 0.5


@dataclass
class Blame:
    """A region of a row.

    Attributes:
        surprise: How surprising it is.
        nats: How much it is to blame: its excess, or what is left of it without the region that is to blame for it, or
            what it is without the region that hides it.
        together: The regions that share its surprise.
    """

    surprise: Surprise
    nats: float
    together: list[int] = field(default_factory=list)


def blame(looks: Surprises, rows: FloatArray, known: Known, top: int) -> list[list[Blame]]:
    """Return the regions to blame of each row, most first, at least ``top`` if it has as many.

    Args:
        looks: Of the model.
        rows: Rows (N, D).
        known: What is known of them.
        top: Regions that are asked for.
    """
    search = _Search(looks, rows, known)
    search.look(max(top, _LEAST))
    search.look_again()
    return [_most_first(of_row) for of_row in search.blamed]


class _Search:
    def __init__(self, looks: Surprises, rows: FloatArray, known: Known) -> None:
        self._looks, self._rows, self._known = looks, rows, known
        self._quick = looks.quick(rows, known.log_px, looks.present(rows))
        self.blamed: list[list[Blame]] = [[] for _ in rows]

    def look(self, count: int) -> None:
        """Look closely at the regions that seem the most surprising."""
        order = np.argsort(-self._quick, axis=1, kind="stable")[:, : count + _SPARE]
        i, k = np.nonzero(np.isfinite(np.take_along_axis(self._quick, order, axis=1)))
        for n, each in self._looks.close(self._rows, self._known, i, order[i, k], count):
            self.blamed[n].append(Blame(each, each.excess))

    def look_again(self) -> None:
        """Look at rows without the region that is most to blame."""
        chosen = [n for n, found in enumerate(self.blamed) if found and self._is_unexplained(n, _first(found))]
        if not chosen:
            return
        firsts = [_first(self.blamed[n]).surprise for n in chosen]
        rest = self._looks.without(self._rows[chosen], np.array([first.region for first in firsts]))
        log_px = np.concatenate([first.rest.log_px for first in firsts])
        asked = np.stack([self._asked(n, first) for n, first in zip(chosen, firsts, strict=True)])
        second = self._looks.quick(rest, log_px, asked)
        gains = np.where(asked, second - np.where(asked, self._quick[chosen], 0.0), -np.inf)
        for n, gain in zip(chosen, gains, strict=True):
            _mark_shared(self.blamed[n], gain)
        hidden = [
            (n, first.region, int(gain.argmax()), float(gain.max()))
            for n, first, gain in zip(chosen, firsts, gains, strict=True)
            if gain.max() > _SURPRISING
        ]
        self._add_hidden(hidden)

    def _add_hidden(self, hidden: Sequence[tuple[int, int, int, float]]) -> None:
        """Add regions that are more surprising without another one: (row, the other, region, nats more)."""
        known = {(n, each.surprise.region): each.surprise for n, found in enumerate(self.blamed) for each in found}
        new = [(n, region) for n, _, region, _ in hidden if (n, region) not in known]
        i, g = np.array(new, dtype=np.intp).reshape(-1, 2).T
        known |= {(n, each.region): each for n, each in self._looks.close(self._rows, self._known, i, g, 1)}
        for n, other, region, more in hidden:
            surprise = known[n, region]
            kept = [each for each in self.blamed[n] if each.surprise.region != region]
            self.blamed[n] = [*kept, Blame(surprise, surprise.excess + more, [other])]

    def _is_unexplained(self, n: int, first: Blame) -> bool:
        """Return whether another look may tell more: regions that make up for each other hide their surprise."""
        return first.nats > _SURPRISING or bool(self._known.is_anomaly[n] & first.surprise.rest.is_anomaly[0])

    def _asked(self, n: int, first: Surprise) -> NDArray[np.bool_]:
        """Return which regions of a row are looked at again: all if it is still an anomaly without the first."""
        asked = np.isfinite(self._quick[n]) & first.rest.is_anomaly
        asked[[each.surprise.region for each in self.blamed[n] if each.nats > _SURPRISING]] = True
        asked[first.region] = False
        return np.asarray(asked)


def _mark_shared(blamed: Sequence[Blame], gain: FloatArray) -> None:
    """Mark regions whose surprise goes away without the first, by how much it changes, nats, (G,).

    If the row is no anomaly without the first, but still one without the other, the first is to blame for both.
    """
    first = _first(blamed)
    for each in blamed:
        region = each.surprise.region
        if each is first or each.nats <= _SURPRISING or gain[region] >= -_SHARED * each.nats:
            continue
        each.together.append(first.surprise.region)
        if each.surprise.rest.is_anomaly[0] and not first.surprise.rest.is_anomaly[0]:
            each.nats += float(gain[region])
        else:
            first.together.append(region)


def _first(blamed: Sequence[Blame]) -> Blame:
    return max(blamed, key=lambda each: each.nats)


def _most_first(blamed: Sequence[Blame]) -> list[Blame]:
    return sorted(blamed, key=lambda each: -each.nats)
