"""Windows of series: which ones can be used, their rows of cells, and the split of a panel into blocks.

A window is named by the segment and the step at which it ends: it covers the steps end - length + 1 to end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.split import Split
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.grid import Segment

__all__ = [
    "Windows",
    "all_windows",
    "block_split",
    "is_usable",
    "rows_at_ends",
    "usable_ends",
    "why_no_window",
    "window_rows",
    "windows",
]

# A window needs this share of its cells. Chosen, not measured: with fewer, log p says more about what is missing.
_LEAST_PRESENT = 0.5

# Steps of a block of the split, in windows. Longer blocks lose fewer windows at their borders, shorter ones are more
# in number. With fewer blocks than the second number, or one with a larger share of the steps than the third, a single
# block would decide what is normal. Chosen, not measured.
_BLOCK, _FEWEST_BLOCKS, _LARGEST_SHARE = 5, 5, 0.3

# Without blocks: the shares of the steps that calibrate and are held out, and the steps that calibrate and that train
# at least, in windows. Chosen, not measured.
_TAIL_SHARE, _HELD_OUT_SHARE, _LEAST_TAIL, _LEAST_TRAIN = 0.2, 0.1, 1.5, 1.5

# The parts of the split. Of 10 blocks in a row, 2 calibrate and 1 is held out: the shares of the split of tables.
_TRAIN, _HELD_OUT, _CALIBRATION = 0, 1, 2
_TAIL_PARTS = np.array([_TRAIN, _HELD_OUT, _CALIBRATION])

# Held-out and calibration windows that are used at most, each, as for tables.
_MAX_SET_ASIDE = 20_000

# Random stream of the split, as in anomaly_vae.columns.split.
_SPLIT_STREAM = 4


@dataclass(frozen=True)
class Windows:
    """Windows of segments.

    Attributes:
        segment: The number of the segment, shape (N,).
        end: The step at which the window ends, shape (N,).
    """

    segment: NDArray[np.intp]
    end: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, which: NDArray[Any] | slice) -> Windows:
        return Windows(self.segment[which], self.end[which])


def is_usable(values: FloatArray) -> bool:
    """Return whether a window (length, C) can be scored: its last step has a value, and half of its cells have."""
    present = ~np.isnan(values)
    return bool(present[-1].any() and present.sum() >= _LEAST_PRESENT * present.size)


def why_no_window(num_steps: int, length: int, *, last_is_present: bool, after_gap: bool) -> str:
    """Return why no window that can be used ends at a step.

    Args:
        num_steps: Steps of the segment up to this one.
        length: Steps of a window.
        last_is_present: Whether the step has a value.
        after_gap: Whether the segment comes after a long gap.
    """
    if num_steps < length:
        start, what = ("gap", "after a long gap") if after_gap else ("warm-up", "of a series")
        return f"{start}: the first {length - 1} steps {what} have no full window"
    if not last_is_present:
        return "missing: the step has no value"
    return f"missing: over half of the cells of the last {length} steps are missing"


def usable_ends(values: FloatArray, length: int) -> NDArray[np.bool_]:
    """Return at which steps of a segment (T, C) a window ends that can be used: see :func:`is_usable`; shape (T,)."""
    present = ~np.isnan(values)
    num_present = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    usable = np.zeros(len(values), dtype=bool)
    if len(values) >= length:
        enough = num_present[length:] - num_present[:-length] >= _LEAST_PRESENT * length * values.shape[1]
        usable[length - 1 :] = enough & present[length - 1 :].any(axis=1)
    return usable


def windows(values: FloatArray, length: int, stride: int = 1) -> FloatArray:
    """Return the windows of a segment (T, C), one per row, also those that cannot be used.

    Args:
        values: One row per step.
        length: Steps of a window.
        stride: Steps from one window to the next.

    Returns:
        Cells in the order of a C-contiguous array [length, C], shape (N, length * C); N is 0 if T < length.
    """
    num_channels = values.shape[1]
    if len(values) < length:
        return np.empty((0, length * num_channels))
    views = np.lib.stride_tricks.sliding_window_view(values, length, axis=0)[::stride]  # (N, C, length)
    return views.transpose(0, 2, 1).reshape(len(views), length * num_channels)


def all_windows(segments: Sequence[Segment], length: int, stride: int = 1) -> Windows:
    """Return the windows that can be used, by segment and time; the first one of a segment starts at its first step."""
    ends = []
    for segment in segments:
        usable = usable_ends(segment.values, length)
        usable[np.arange(len(usable)) % stride != (length - 1) % stride] = False
        ends.append(np.flatnonzero(usable))
    numbers = np.repeat(np.arange(len(segments)), [len(each) for each in ends])
    return Windows(numbers.astype(np.intp), np.concatenate([np.empty(0, dtype=np.intp), *ends]))


def window_rows(segments: Sequence[Segment], places: Windows, length: int) -> FloatArray:
    """Return the cells of windows, in the order of ``places``: see :func:`windows`; shape (N, length * C)."""
    num_channels = segments[0].values.shape[1] if len(segments) else 1
    rows = np.empty((len(places), length, num_channels))
    for s, chosen in _by_segment(places):
        views = np.lib.stride_tricks.sliding_window_view(segments[s].values, length, axis=0)
        rows[chosen] = views[places.end[chosen] - length + 1].transpose(0, 2, 1)
    return rows.reshape(len(places), length * num_channels)


def rows_at_ends(segments: Sequence[Segment], places: Windows) -> NDArray[np.intp]:
    """Return the row of the input at which each window ends, shape (W,)."""
    first_steps = np.cumsum([0, *(len(segment.rows) for segment in segments)])
    rows = np.concatenate([np.empty(0, dtype=np.intp), *(segment.rows for segment in segments)])
    return np.asarray(rows[first_steps[places.segment] + places.end])


def block_split(segments: Sequence[Segment], places: Windows, length: int, seed: int) -> Split:
    """Split windows so that a calibration window shares no step with any other part.

    Long segments are cut into blocks of 5 windows, and of 10 blocks in a row 7 train, 1 is held out and 2 calibrate, in
    random order. With fewer than 5 blocks in all, the last fifth of each segment calibrates, 1.5 windows at least, and
    the tenth before it is held out. A window belongs to the block where it ends; one that lies partly in a calibration
    block is in no part. A held-out window may share steps with training windows: it only tells when to stop.

    Args:
        segments: The segments.
        places: Their windows, from :func:`all_windows`.
        length: Steps of a window.
        seed: The same seed gives the same split.

    Returns:
        Indices into ``places``, increasing; of very long series at most about 20,000 calibrate and are held out.

    Raises:
        InvalidInput: The segments are too short, or one part has no window.
    """
    blocks = [_cut(segment, length) for segment in segments]
    if _are_even(blocks, segments):
        dealt = _dealt(sum(map(len, blocks)), np.random.default_rng([seed, _SPLIT_STREAM]))
        parts = np.split(dealt, np.cumsum([len(each) for each in blocks])[:-1])
    else:
        blocks = [_tail_blocks(len(segment.rows), length) for segment in segments]
        parts = [_TAIL_PARTS[-len(each) :] if len(each) == len(_TAIL_PARTS) else _TAIL_PARTS[:1] for each in blocks]
        if all(len(each) == 1 for each in blocks):
            raise _too_short(segments, length)
    part = np.full(len(places), -1, dtype=np.int64)
    for s, chosen in _by_segment(places):
        ends = places.end[chosen]
        first, last = (np.searchsorted(blocks[s], steps, side="right") - 1 for steps in (ends - length + 1, ends))
        before = np.cumsum([0, *(parts[s] == _CALIBRATION)])
        touches = before[last + 1] - before[first]  # the calibration blocks that a window lies in
        is_pure = (touches == 0) | (touches == last - first + 1)
        part[chosen] = np.where(is_pure, parts[s][last], -1)
    found = [np.flatnonzero(part == each) for each in (_TRAIN, _HELD_OUT, _CALIBRATION)]
    if any(len(each) == 0 for each in found):
        raise InvalidInput(
            f"too few of the {len(places)} windows of {length} steps can be used to train, to stop and to calibrate: "
            "in a window at most half of the cells may be missing. Use a shorter window or stride, or fill the gaps"
        )
    return Split(train=found[0], held_out=_thinned(found[1]), calibration=_thinned(found[2]))


def _by_segment(places: Windows) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Return the numbers of the segments that have windows, and the indices of these in ``places``."""
    order = np.argsort(places.segment, kind="stable").astype(np.intp)
    numbers, firsts = np.unique(places.segment[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, firsts[1:]), strict=False)


def _cut(segment: Segment, length: int) -> NDArray[np.intp]:
    """Return the first step of each block of a segment."""
    num_steps = len(segment.rows)
    if num_steps < length:
        return np.zeros(0, dtype=np.intp)
    num_blocks = num_steps // (_BLOCK * length)
    num_blocks = num_blocks if num_blocks >= _FEWEST_BLOCKS else 1
    return np.asarray(np.arange(num_blocks) * num_steps // num_blocks, dtype=np.intp)


def _are_even(blocks: Sequence[NDArray[np.intp]], segments: Sequence[Segment]) -> bool:
    """Return whether there are enough blocks to deal, and none has most of the steps."""
    steps = [np.diff([*each, len(segment.rows)]) for each, segment in zip(blocks, segments, strict=True) if len(each)]
    sizes = np.concatenate([np.zeros(0), *steps])
    return len(sizes) >= _FEWEST_BLOCKS and bool(sizes.max() <= _LARGEST_SHARE * sizes.sum())


def _tail_blocks(num_steps: int, length: int) -> NDArray[np.intp]:
    """Return the first steps of the training, held-out and calibration blocks; of one block if there are too few."""
    calibration = max(round(_TAIL_SHARE * num_steps), math.ceil(_LEAST_TAIL * length))
    held_out = max(round(_HELD_OUT_SHARE * num_steps), 1)
    train = num_steps - calibration - held_out
    if train < _LEAST_TRAIN * length:
        return np.zeros(1, dtype=np.intp)
    return np.array([0, train, train + held_out], dtype=np.intp)


def _dealt(num_blocks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the part of each block: of 10 in a row 2 calibrate and 1 is held out; at least one of each."""
    parts = np.full(num_blocks, _TRAIN, dtype=np.int64)
    for start in range(0, num_blocks, 10):
        order = start + rng.permutation(10)
        parts[order[:2][order[:2] < num_blocks]] = _CALIBRATION
        parts[order[2:3][order[2:3] < num_blocks]] = _HELD_OUT
    if num_blocks < 10:
        order = rng.permutation(num_blocks)
        parts[:] = _TRAIN
        calibrating = max(1, round(0.2 * num_blocks))
        parts[order[:calibrating]] = _CALIBRATION
        parts[order[calibrating]] = _HELD_OUT
    return parts


def _thinned(indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return every k-th of the windows, so that there are not too many."""
    return indices[:: -(-len(indices) // _MAX_SET_ASIDE)]


def _too_short(segments: Sequence[Segment], length: int) -> InvalidInput:
    longest = max((len(segment.rows) for segment in segments), default=0)
    needed = (_LEAST_TRAIN + _LEAST_TAIL) / (1.0 - _HELD_OUT_SHARE)
    return InvalidInput(
        f"windows of {length} steps need a series of at least {math.ceil(needed * length)} steps without a long gap, "
        f"to train, to stop and to calibrate on; the longest of {len(segments)} segments has {longest}. Use a window "
        f"of at most {max(int(longest / needed), 2)} steps, or give more rows"
    )
