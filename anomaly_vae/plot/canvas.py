"""Figures of matplotlib without pyplot, their colours, and their files."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file

__all__ = [
    "BAND",
    "COLOURS",
    "FLAGGED",
    "NORMAL",
    "QUIET",
    "STEP",
    "TEXT",
    "THRESHOLD",
    "axes_of",
    "finished",
    "literal",
    "new_figure",
    "private_fonts",
    "refuse_format",
    "tidy",
]

# Colours that people with any colour vision tell apart: Okabe & Ito, https://jfly.uni-koeln.de/color/.
NORMAL, FLAGGED, STEP = "#0072B2", "#D55E00", "#009E73"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
TEXT, QUIET, BAND, THRESHOLD = "#222222", "#666666", "#E3E3E3", "#222222"

# Points of text in inches of paper: 12 points are 17 pixels.
_DPI = 100

_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


def new_figure(width: int, height: int) -> Any:
    """Return an empty figure of this size, pixels; its contents are laid out when it is drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(f"pictures need matplotlib: pip install 'anomaly_vae[train]' ({error})") from error
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes_of(axes: Any, width: int, height: int) -> Any:
    """Return the axes to draw on: the given ones, or those of a new figure of this size, pixels.

    Notebooks show new ones as their picture: without pyplot they would print a name only.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if axes is not None:
        return axes
    axes = new_figure(width, height).subplots()
    axes._repr_png_ = lambda: _as_png(axes.figure)
    return axes


def _as_png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def literal(text: str) -> str:
    """Return a text of the user's data so that matplotlib shows it as it is: between two "$" it reads formulas."""
    return text.replace("$", r"\$")


@contextlib.contextmanager
def private_fonts(folder: Path) -> Iterator[None]:
    """Let matplotlib write its list of fonts to a temporary folder in ``folder``, not to HOME.

    It does so at its first import in a process. A folder that the user has set stays.
    """
    with tempfile.TemporaryDirectory(prefix=".matplotlib-", dir=folder) as own:
        os.environ.setdefault("MPLCONFIGDIR", own)
        yield


def refuse_format(path: str | Path | None) -> None:
    """Raise ConfigError if the name of the file has an ending that no picture has."""
    if path is not None and Path(path).suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path}: pictures are files with the ending {', '.join(_FORMATS)}; choose another name")


def finished(figure: Any, path: str | Path | None) -> Any:
    """Return the figure, or write it to a file that appears when it is complete, and return None."""
    if path is None:
        return figure
    refuse_format(path)
    with atomic_file(Path(path), overwrite=True) as part:
        figure.savefig(part, format=_FORMATS[Path(path).suffix.lower()])
    return None


def tidy(axes: Any) -> None:
    """Take away what a reader does not need: the frame on two sides, and dark ticks."""
    axes.set_facecolor("white")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelcolor=TEXT, labelsize=11)
