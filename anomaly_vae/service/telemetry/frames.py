"""Where an exception was raised, without the text of the exception, which may hold values of a row."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

__all__ = ["frames_of"]

_MAX_FRAMES = 32  # chosen, not measured: it bounds the size of a log line
_PACKAGES = Path(__file__).parents[3]


def frames_of(trace: TracebackType | None) -> tuple[str, ...]:
    """Return ``path:line in function`` for the last 32 frames, innermost last."""
    return tuple(
        f"{_short(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(trace, limit=-_MAX_FRAMES)
    )


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_PACKAGES)) if path.is_relative_to(_PACKAGES) else filename
