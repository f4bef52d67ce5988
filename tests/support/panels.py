"""Panels of a dashboard of Grafana, and the selectors of its queries."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["HERE", "MODEL", "OF_VERSION", "RATE", "RECORDED", "Panel", "Query", "heat", "mean", "quantiles", "series"]


class Query(NamedTuple):
    """A query of Prometheus, and the legend of its series."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """A panel.

    Attributes:
        kind: The kind of the panel: timeseries, heatmap, table, stat or state-timeline.
        unit: A unit of Grafana: reqps, s, percentunit, short, bytes, ...
        text: What a reader should know, shown when the pointer is over the title.
    """

    title: str
    kind: str
    unit: str
    text: str
    queries: tuple[Query, ...]


RATE = "[$__rate_interval]"
HERE = 'job=~"$job",instance=~"$instance"'
MODEL = f'{HERE},model_name=~"$model_name",model_version=~"$model_version"'
RECORDED = 'job=~"$job",model_name=~"$model_name",model_version=~"$model_version"'
OF_VERSION = "{{model_name}} {{model_version}}"


def series(title: str, unit: str, text: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, "timeseries", unit, text, tuple(Query(*query) for query in queries))


def heat(title: str, unit: str, text: str, bucket: str) -> Panel:
    return Panel(title, "heatmap", unit, text, (Query(f"sum by (le) (rate({bucket}{RATE}))", "{{le}}"),))


def quantiles(bucket: str, by: str, legend: str, *shares: float) -> list[tuple[str, str]]:
    group = f"le, {by}" if by else "le"
    return [
        (
            f"histogram_quantile({share}, sum by ({group}) (rate({bucket}{RATE})))",
            f"{legend} {share:.0%}".replace("%", " %").strip(),
        )
        for share in shares
    ]


def mean(name: str, labels: str, by: str) -> str:
    sums = [f"sum by ({by}) (rate({name}_{part}{{{labels}}}{RATE}))" for part in ("sum", "count")]
    return " / ".join(sums)
