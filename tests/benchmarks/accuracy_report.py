"""Tables and a picture for tests.benchmarks.accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Methods in the order of tables and pictures; budgets in decoder evaluations a row.
METHODS = ("plain", "sobol", "adaptive")
BUDGETS, MAIN_BUDGET = (64, 256, 1024, 4096), 1024

# Targets by figure: label, relation, value. On mammography plain Monte Carlo is already good, so its ratio is lower.
SMALLEST_RATIO = {"mammography": 3.0}
FIGURES: dict[str, tuple[str, str, float]] = {
    "ratio_on_anomalies": ("plain/adaptive, median RMSE on anomalies", ">=", 6.0),
    "p90_on_anomalies": ("90 % quantile of RMSE on anomalies, nats", "<=", 0.5),
    "ratio_on_normal": ("plain/adaptive, median RMSE on normal rows", ">=", 1.0),
    "inside_on_normal": ("inside the 99.7 % interval, normal rows", ">=", 0.95),
    "inside_on_reliable_anomalies": ("inside the 99.7 % interval, reliable anomalies", ">=", 0.9),
    "reliable_anomalies": ("anomalies marked reliable", ">=", 2 / 3),
}


def target(figure: str, name: str) -> float:
    """Return the target of a figure for a table."""
    return SMALLEST_RATIO.get(name, FIGURES[figure][2]) if figure == "ratio_on_anomalies" else FIGURES[figure][2]


def show(results: dict[str, dict[str, Any]], console: Console) -> None:
    """Print errors, accuracy of the references, and figures with their targets."""
    table = Table("RMSE in nats, median / 90 % quantile", "rows", "method", *(f"{budget:,}" for budget in BUDGETS))
    for name, result in results.items():
        for kind in ("normal", "anomalies"):
            for method in METHODS:
                cells = [result["rmse"][method][budget][kind] for budget in BUDGETS]
                table.add_row(name, kind, method, *(f"{c['median']:.4f} / {c['p90']:.3f}" for c in cells))
    console.print(table)
    table = Table("reference in nats, median / 90 % quantile / largest", "quantity", "normal", "anomalies")
    for name, result in results.items():
        for of, kinds in result["reference"].items():
            table.add_row(name, of, *(" / ".join(f"{value:.4f}" for value in kinds[k]) for k in kinds))
    console.print(table)
    table = Table(f"adaptive at {MAIN_BUDGET:,}", *results)
    for figure, (label, relation, _) in FIGURES.items():
        cells = []
        for name, result in results.items():
            value, goal = result["figures"][figure], target(figure, name)
            met = value >= goal if relation == ">=" else value <= goal
            cells.append(f"{value:.3f} ({relation} {goal:.3g}: {'met' if met else 'MISSED'})")
        table.add_row(label, *cells)
    table.add_row("mean decoder evaluations", *(f"{result['evaluations']:.0f}" for result in results.values()))
    console.print(table)


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw median RMSE against decoder evaluations: one column of panels per table, normal rows above anomalies."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(results), figsize=(3.2 * len(results), 6), squeeze=False, sharex=True)
    for column, (name, result) in enumerate(results.items()):
        for axis, kind in zip(axes[:, column], ("normal", "anomalies"), strict=True):
            for method, marker in zip(METHODS, "o^s", strict=True):
                points = [result["rmse"][method][budget][kind] for budget in BUDGETS]
                spent, medians = [p["evaluations"] for p in points], [p["median"] for p in points]
                axis.loglog(spent, medians, marker=marker, markersize=4, label=method)
            axis.set_title(f"{name}: {kind}", fontsize=10)
            axis.grid(visible=True, which="major", alpha=0.3)
        axes[1, column].set_xlabel("decoder evaluations a row")
    for axis in axes[:, 0]:
        axis.set_ylabel("median RMSE of log p(x), nats")
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
