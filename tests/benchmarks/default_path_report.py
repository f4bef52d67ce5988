"""Tables and a picture for tests.benchmarks.default_path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.benchmarks.plots import COLOURS

__all__ = ["draw", "show"]

# Rates in the order of columns: sets of rows and threads.
RATES = {"stream 1": "stream", "stream 2": "stream, 2 threads", "normal 1": "normal", "anomalies 1": "anomalies"}

# Colours of the bars by name.
FLOOR = "floor of now"
COLOUR_OF = {"before": COLOURS[0], "now": COLOURS[1], FLOOR: COLOURS[7]}

# Figures of a version on a table.
Figures = dict[str, Any]

# Takes a number out of these figures.
Getter = Callable[[Figures], float]


def show(figures: dict[str, Any], console: Console) -> None:
    """Print all tables."""
    results = figures["tables"]
    if results:
        tables = (_rates(results), _calls(results), _quality(results), _coverage(results))
        for table in tables:
            if table.row_count:
                console.print(table)
        _sums(results, console)
    for name, error in figures["failed"].items():
        console.print(f"{name} failed: {error}")
    before, after = figures["load"]
    compared = f"before: commit {figures['before'][:12]}; " if results and "before" in results[0]["versions"] else ""
    console.print(f"{compared}load average {before:.1f} before the run, {after:.1f} after; {figures['cores']} cores")


def _rates(results: list[dict[str, Any]]) -> Table:
    """Return rows a second and samples; the floor is that of the stream on one thread."""
    heads = [*RATES.values(), "samples of the stream", "share of the floor"]
    table = _table("Rows a second, 1 thread: before → now (now over before)", "table", "way", *heads)
    ways = list(results[0]["versions"]["now"]["rows_per_s"])
    for result in results:
        for way in ways:
            cells = [_rate(result, lambda f, w=way, k=key: f["rows_per_s"][w][k]) for key in RATES]
            cells.append(_pair(result, lambda f, w=way: f["samples"][w]["stream"], "{:,.0f}"))
            cells.append(_pair(result, lambda f, w=way: _floor_share(f, w), "{:.0%}"))
            table.add_row(result["table"], way, *cells, end_section=way == ways[-1])
    for way in ways:
        cells = [_mean_ratio(results, lambda f, w=way, k=key: f["rows_per_s"][w][k]) for key in RATES]
        samples = _mean_pair(results, lambda f, w=way: f["samples"][w]["stream"], "{:,.0f}")
        share = _mean_pair(results, lambda f, w=way: _floor_share(f, w), "{:.0%}")
        table.add_row("mean ratio", way, *cells, samples, share, style="bold")
    return table


def _floor_share(figures: Figures, way: str) -> float:
    return figures["rows_per_s"][way]["stream 1"] / figures["floor"][way]


def _calls(results: list[dict[str, Any]]) -> Table:
    """Return small calls, of score() and of the service."""
    table = _table("Calls of score, one after the other: before → now", "table", "call", "rows/s", "p50 ms", "p99 ms")
    for result in results:
        places: dict[str, Getter] = {"1 row": lambda f: f["lone"]}
        for size in result["versions"]["now"].get("service", {}):
            places[f"service, {int(size):,} rows"] = lambda f, s=size: f["service"][s]
        for call, place in places.items():
            rate = _rate(result, lambda f, p=place: p(f)["rows_per_s"])
            times = [_pair(result, lambda f, p=place, q=of: p(f)[q], "{:.2f}") for of in ("p50", "p99")]
            table.add_row(result["table"], call, rate, *times)
    table.add_section()
    mean = _mean_ratio(results, lambda f: f["lone"]["rows_per_s"])
    times = [_mean_pair(results, lambda f, q=of: f["lone"][q], "{:.2f}") for of in ("p50", "p99")]
    table.add_row("mean ratio, ms", "1 row", mean, *times, style="bold")
    return table


def _quality(results: list[dict[str, Any]]) -> Table:
    """Return what the user relies on, apart from speed."""
    columns: dict[str, tuple[Getter, str]] = {
        "reliable normal": (lambda f: f["reliable"]["score"]["normal"], "{:.1%}"),
        "reliable anomalies": (lambda f: f["reliable"]["score"]["anomalies"], "{:.1%}"),
        "no std_error": (lambda f: f["no_error"]["score"]["normal"], "{:.1%}"),
        "flag missed": (lambda f: f["agreement"]["missed"], "{:.0f}"),
        "flag added": (lambda f: f["agreement"]["added"], "{:.0f}"),
        "AUROC": (lambda f: f["auroc"], "{:.4f}"),
        "AP": (lambda f: f["ap"], "{:.4f}"),
        "training s": (lambda f: f["train_s"], "{:.1f}"),
    }
    table = _table("Flags and quality: before → now", "table", *columns, "false positives at 1 % and 5 %")
    for result in results:
        cells = [_pair(result, get, form) for get, form in columns.values()]
        counts = result["versions"]["now"]["false_positives"]
        texts = [text for key, text in counts.items() if key.startswith("flags@")]
        table.add_row(result["table"], *cells, "; ".join(texts), end_section=result is results[-1])
    table.add_row("mean", *(_mean_pair(results, get, form) for get, form in columns.values()), "", style="bold")
    return table


def _coverage(results: list[dict[str, Any]]) -> Table:
    """Return coverage, one line for each table and kind of row."""
    covered = [result for result in results if "coverage" in result["versions"]["now"]]
    heads = ("rows", "no reference", "inside", "inside, reliable", "median error", "90 % error", "no std_error")
    heads += ("inside, max_std_error",)
    table = _table("Inside 99.7 % intervals of the references, errors in nats: before → now", "table", "kind", *heads)
    places: dict[str, tuple[str, str, str]] = {
        "inside": ("score", "inside", "{:.1%}"),
        "reliable": ("score", "inside_reliable", "{:.1%}"),
        "median": ("score", "median_error", "{:.4f}"),
        "p90": ("score", "p90_error", "{:.3f}"),
        "nan": ("score", "no_error", "{:.1%}"),
        "early": ("max_std_error", "inside", "{:.1%}"),
    }
    for kind in ("normal", "anomalies"):
        getters = [
            (lambda f, w=way, of=kind, k=key: f["coverage"][w][of][k] if "coverage" in f else float("nan"), form)
            for way, key, form in places.values()
        ]
        for result in covered:
            now = result["versions"]["now"]["coverage"]["score"][kind]
            cells = [_pair(result, get, form) for get, form in getters]
            table.add_row(result["table"], kind, str(now["rows"]), str(now["without_reference"]), *cells)
        if covered:
            parts = [result["versions"]["now"]["coverage"]["score"][kind] for result in covered]
            sums = [str(sum(part[key] for part in parts)) for key in ("rows", "without_reference")]
            means = [_mean_pair(covered, get, form) for get, form in getters]
            table.add_row("all, mean", kind, *sums, *means, style="bold", end_section=True)
    return table


def _sums(results: list[dict[str, Any]], console: Console) -> None:
    """Print how many flags agree and how many false-positive counts are inside their intervals."""
    for name in results[0]["versions"]:
        of = [result["versions"][name] for result in results]
        rows, differ = (sum(f["agreement"][key] for f in of) for key in ("rows", "missed"))
        differ += sum(f["agreement"]["added"] for f in of)
        console.print(f"{name}: flag and score agree on {1.0 - differ / rows:.4%} of {rows:,} rows ({differ} differ)")
        inside = [value for f in of for key, value in f["false_positives"].items() if key.startswith("inside@")]
        console.print(f"{name}: {sum(inside)} of {len(inside)} false-positive counts in their 99.9 % intervals")


def _table(title: str, *heads: str) -> Table:
    table = Table(*heads, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _values(result: dict[str, Any], get: Getter) -> list[float]:
    """Return the number of each version, the current one last."""
    return [get(figures) for figures in result["versions"].values()]


def _pair(result: dict[str, Any], get: Getter, form: str) -> str:
    return _joined(_values(result, get), form)


def _rate(result: dict[str, Any], get: Getter) -> str:
    values = _values(result, get)
    ratio = f" ({values[-1] / values[0]:.2f}x)" if len(values) > 1 else ""
    return _joined(values, "{:,.0f}") + ratio


def _joined(values: list[float], form: str) -> str:
    return " → ".join("–" if np.isnan(value) else form.format(value) for value in values)


def _mean_ratio(results: list[dict[str, Any]], get: Getter) -> str:
    """Return the mean and the smallest ratio of the current version to the earlier one."""
    ratios = [now / before for before, now in _two(results, get)]
    return f"{np.mean(ratios):.2f}x, least {min(ratios):.2f}x" if ratios else ""


def _mean_pair(results: list[dict[str, Any]], get: Getter, form: str) -> str:
    by_version = np.array([_values(result, get) for result in results])
    known = [column[~np.isnan(column)] for column in by_version.T]
    return _joined([float(column.mean()) if len(column) else float("nan") for column in known], form)


def _two(results: list[dict[str, Any]], get: Getter) -> Iterator[list[float]]:
    """Yield the numbers of the earlier and of the current version, if there are two."""
    return (values for values in (_values(result, get) for result in results) if len(values) == 2)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw rows a second of the stream on one thread: a panel for each way, with the floor of the current version."""
    results = figures["tables"]
    if not results:
        return
    ways = list(results[0]["versions"]["now"]["rows_per_s"])
    figure = Figure(figsize=(max(6.0, 0.6 * len(results) + 2.0), 3.0 * len(ways)), layout="constrained")
    grid = figure.subplots(len(ways), 1, squeeze=False, sharex=True)[:, 0]
    for ax, way in zip(grid, ways, strict=True):
        series = {
            name: [result["versions"][name]["rows_per_s"][way]["stream 1"] for result in results]
            for name in results[0]["versions"]
        }
        series[FLOOR] = [result["versions"]["now"]["floor"][way] for result in results]
        width = 0.86 / len(series)
        for j, (name, values) in enumerate(series.items()):
            places = np.arange(len(results)) + (j - (len(series) - 1) / 2) * width
            ax.bar(places, values, width, color=COLOUR_OF[name], label=name)
        ax.set_yscale("log")
        ax.set_title(way, fontsize=10)
        ax.grid(axis="y", which="major", alpha=0.3)
        ax.set_axisbelow(True)
    grid[-1].set_xticks(range(len(results)), [result["table"] for result in results], rotation=45, ha="right")
    figure.supylabel("rows a second, one thread, 1 % anomalies", fontsize=10)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.savefig(path, dpi=140)
