"""Charts of the benchmarks: bars on a logarithmic axis, and error against cost with a panel per table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "bars", "error_against_cost"]

# Told apart by the colour-blind too: Okabe & Ito (2008), https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#999999")
_MARKERS = "os^Dv<>P"

Series = Mapping[str, Sequence[float]]
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def bars(path: Path, panels: Mapping[str, Series], groups: Sequence[str], *, title: str, label: str) -> None:
    """Groups of bars, one bar of a group per series, one panel per title, on a shared logarithmic axis.

    Args:
        path: The PNG.
        panels: Title -> series -> one positive value per group; NaN leaves a gap.
        groups: What stands below the groups.
        title: Of the whole figure.
        label: Of the vertical axis.
    """
    figure = Figure(figsize=(6.5 * min(len(panels), 2), 1.2 + 3.4 * math.ceil(len(panels) / 2)), layout="constrained")
    names = _names(panels)
    for ax, (heading, series) in zip(_axes(figure, len(panels), 2, sharey=True), panels.items(), strict=False):
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


def error_against_cost(path: Path, panels: Mapping[str, Lines], *, title: str, cost: str, error: str) -> None:
    """Lines of error over cost, both logarithmic: a line per method, a panel per table.

    Args:
        path: The PNG.
        panels: Title -> method -> costs and errors, positive, of the same length.
        title: Of the whole figure.
        cost: What lies along the horizontal axes.
        error: What lies along the vertical axes.
    """
    columns = min(len(panels), 4)
    figure = Figure(figsize=(1 + 3.2 * columns, 1.2 + 2.8 * math.ceil(len(panels) / columns)), layout="constrained")
    names = _names(panels)
    for ax, (heading, lines) in zip(_axes(figure, len(panels), columns), panels.items(), strict=False):
        for name, (costs, errors) in lines.items():
            j = names.index(name)
            style = {"color": COLOURS[j % len(COLOURS)], "marker": _MARKERS[j % len(_MARKERS)]}
            ax.loglog(costs, errors, label=name, markersize=4, linewidth=1.4, **style)
        ax.set_title(heading, fontsize=10)
        ax.grid(which="major", alpha=0.3)
    figure.supxlabel(cost, fontsize=10)
    figure.supylabel(error, fontsize=10)
    _finish(figure, path, title, names)


def _axes(figure: Figure, count: int, columns: int, *, sharey: bool = False) -> Iterator[Axes]:
    """The panels in reading order; those of the grid that are not needed are hidden."""
    columns = min(count, columns)
    grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False, sharey="row" if sharey else False)
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    return iter(grid.flat[:count])


def _names(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """All names that occur in panels, in the order of their first appearance: each keeps its colour everywhere."""
    return list(dict.fromkeys(name for panel in panels.values() for name in panel))


def _finish(figure: Figure, path: Path, title: str, names: list[str]) -> None:
    """Add title and one legend for all panels, and save."""
    figure.suptitle(title, fontsize=12)
    found = {}
    for ax in figure.axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    handles = [found[name] for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 8), fontsize=9, frameon=False)
    figure.savefig(path, dpi=140)


def _short(value: float) -> str:
    """Three digits, thousands as k and millions as M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
