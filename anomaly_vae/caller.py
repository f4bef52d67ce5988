"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import FrameType

from anomaly_vae.errors import AnomalyVaeWarning

__all__ = ["warn_caller"]

_PACKAGE = str(Path(__file__).parent) + "/"


def warn_caller(text: str, category: type[Warning] = AnomalyVaeWarning) -> None:
    """Issue a warning with the file and the line of the innermost frame outside of this package.

    ``warnings.warn(skip_file_prefixes=)`` does the same, but only from Python 3.12 on.

    Args:
        text: What the user should know.
        category: Class of the warning.
    """
    frame = _caller(sys._getframe())
    warnings.warn_explicit(
        text,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _caller(frame: FrameType) -> FrameType:
    """Return the innermost frame outside of this package; the outermost frame if all are inside."""
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame
