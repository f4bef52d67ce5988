"""Tables and a picture for the serving benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import plots
from tests.benchmarks.serving_work import WORKS, Work

__all__ = ["report"]

Points = dict[tuple[str, int, int], dict[str, Any]]


def report(figures: dict[str, Any], folder: Path, console: Console) -> None:
    """Print tables for each kind of work and one of memory and start, and save serving.png."""
    servers = {name: _points(server) for name, server in figures["servers"].items()}
    for work in WORKS:
        console.print(_rates(work, servers))
        console.print(_latencies(work, servers))
    console.print(_resources(figures["servers"]))
    facts, (before, after) = figures["cascade"], figures["load"]
    console.print(
        f"the cascade took {facts['samples_per_row']:.0f} samples a row and flagged {facts['flagged']:.2%}; "
        f"a threshold on the peers' log p(x) gives another flag for {facts['flags_that_differ']:.2%} of the rows"
    )
    console.print(f"load average {before:.1f} before, {after:.1f} after; {figures['cores']} cores")
    _draw(servers, folder)


def _points(server: dict[str, Any]) -> Points:
    return {(point["work"], point["rows"], point["clients"]): point for point in server["points"]}


def _rates(work: Work, servers: dict[str, Points]) -> Table:
    table = _table(f"Requests a second (ours over theirs): {work.title}", *servers)
    for rows, counts in _places(work, servers).items():
        for clients in counts:
            values = {name: points[work.name, rows, clients]["per_second"] for name, points in servers.items()}
            table.add_row(f"{rows:,}", str(clients), *_with_ratios(values))
        best = {name: _best(points, work, rows) for name, points in servers.items()}
        table.add_row(f"{rows:,}", "best", *_with_ratios(best), style="bold", end_section=True)
    return table


def _latencies(work: Work, servers: dict[str, Points]) -> Table:
    table = _table(f"Milliseconds, p50 and p99: {work.title}", *servers)
    for rows, counts in _places(work, servers).items():
        for clients in counts:
            at_clients = [points[work.name, rows, clients] for points in servers.values()]
            cells = [f"{point['p50']:.2f}  {point['p99']:.2f}" for point in at_clients]
            table.add_row(f"{rows:,}", str(clients), *cells, end_section=clients == counts[-1])
    return table


def _resources(servers: dict[str, Any]) -> Table:
    table = Table(title="Start, and resident megabytes of all processes (in parentheses: shared pages divided)")
    for heading in ("server", "s to ready", "MB, start", *(f"MB, after {work.name}" for work in WORKS)):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    for name, server in servers.items():
        memory = [
            f"{server['megabytes'][when]['rss']:,.0f} ({server['megabytes'][when]['pss']:,.0f})"
            for when in server["megabytes"]
        ]
        table.add_row(name, f"{server['seconds_to_ready']:.2f}", *memory)
    return table


def _table(title: str, *names: str) -> Table:
    table = Table(title=title)
    for heading in ("rows", "clients", *names):
        table.add_column(heading, justify="right")
    return table


def _places(work: Work, servers: dict[str, Points]) -> dict[int, list[int]]:
    """Return the numbers of clients by rows a request."""
    places: dict[int, list[int]] = {}
    for name, rows, clients in next(iter(servers.values())):
        if name == work.name:
            places.setdefault(rows, []).append(clients)
    return places


def _best(points: Points, work: Work, rows: int) -> float:
    return max(point["per_second"] for (name, n, _), point in points.items() if (name, n) == (work.name, rows))


def _with_ratios(values: dict[str, float]) -> list[str]:
    return [
        f"{value:,.1f}" + ("" if name == "ours" else f" ({values['ours'] / value:.2f}x)")
        for name, value in values.items()
    ]


def _draw(servers: dict[str, Points], folder: Path) -> None:
    """Draw rows a second at the best number of clients."""
    sizes = list(_places(WORKS[0], servers))
    rates = {
        work.title: {name: [_best(points, work, rows) * rows for rows in sizes] for name, points in servers.items()}
        for work in WORKS
    }
    plots.bars(
        folder / "serving.png",
        rates,
        [f"{rows:,} row{'s' if rows > 1 else ''} a request" for rows in sizes],
        title="Served over gRPC on one compute thread",
        label="rows a second, at the best number of clients",
    )
