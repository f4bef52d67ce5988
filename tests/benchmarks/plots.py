"""Charts of the benchmarks: groups of bars on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "bars"]

# A palette for readers with and without colour blindness: Okabe & Ito (2008), https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#999999")

Series = Mapping[str, Sequence[float]]


def bars(path: Path, panels: Mapping[str, Series], groups: Sequence[str], *, title: str, label: str) -> None:
    """Draw groups of bars, one bar per series in each group, one panel per title, on a shared logarithmic axis.

    Args:
        path: The PNG file.
        panels: Title -> series -> one positive value per group; NaN leaves a gap.
        groups: Labels of the groups.
        title: Title of the figure.
        label: Label of the vertical axis.
    """
    figure = Figure(figsize=(6.5 * min(len(panels), 2), 1.2 + 3.4 * math.ceil(len(panels) / 2)), layout="constrained")
    names = _names(panels)
    for ax, (heading, series) in zip(_axes(figure, len(panels), 2), panels.items(), strict=False):
        _draw_bars(ax, series, names, groups)
        ax.set_title(heading, fontsize=10)
    figure.supylabel(label, fontsize=10)
    _finish(figure, path, title, names)


def _draw_bars(ax: Axes, series: Series, names: list[str], groups: Sequence[str]) -> None:
    width = 0.86 / len(names)
    for name, values in series.items():
        j = names.index(name)
        places = [i + (j - (len(names) - 1) / 2) * width for i in range(len(groups))]
        drawn = ax.bar(places, values, width, color=COLOURS[j % len(COLOURS)], label=name)
        shown = ["" if math.isnan(value) else _short(value) for value in values]
        ax.bar_label(drawn, shown, fontsize=6.5, rotation=90, padding=2)
    ax.set_yscale("log")
    ax.margins(y=0.18)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(axis="y", which="major", alpha=0.3)
    ax.set_axisbelow(True)


def _axes(figure: Figure, count: int, columns: int) -> Iterator[Axes]:
    """Return the panels in reading order; hide those that are not needed."""
    columns = min(count, columns)
    grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False, sharey="row")
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    return iter(grid.flat[:count])


def _names(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return all names of series in the order of their first appearance, so that a name has one colour everywhere."""
    return list(dict.fromkeys(name for panel in panels.values() for name in panel))


def _finish(figure: Figure, path: Path, title: str, names: list[str]) -> None:
    """Add the title and one legend for all panels, and save."""
    figure.suptitle(title, fontsize=12)
    by_name = {}
    for ax in figure.axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            by_name.setdefault(name, handle)
    handles = [by_name[name] for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 8), fontsize=9, frameon=False)
    figure.savefig(path, dpi=140)


def _short(value: float) -> str:
    """Format a value with three digits, thousands as k and millions as M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
