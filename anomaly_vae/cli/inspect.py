"""``anomaly-vae inspect``."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.inputs import how_inputs_are_read
from anomaly_vae.cli.inspect_shapes import channel_rows, shape_facts
from anomaly_vae.cli.inspect_words import estimator_text, networks_text, new_values_text, range_text, values_text
from anomaly_vae.cli.mixed_up import refuse_table_as_model

if TYPE_CHECKING:
    from rich.table import Table

    from anomaly_vae.columns.schema import Schema

# What one row of training is.
_WHAT = {"table": "rows", "series": "windows", "image": "images"}


@click.command("inspect")
@click.argument("model", metavar="MODEL", type=options.ModelPath())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for programs.")
@click.option("-q", "--quiet", is_flag=True, help="Only check the model: print errors and nothing else.")
@options.verify_key
@options.verbose
def command(model: str, as_json: bool, quiet: bool, verify_key: Path | None) -> None:
    """Show the columns, the training, the calibration and the estimator of MODEL.

    The whole bundle is checked first: its files must be unchanged since they were written, and the model must
    reproduce the scores that it had at training. MODEL is a directory, or a URL that `push` wrote to.

    \b
    anomaly-vae inspect model
    anomaly-vae inspect model --json
    anomaly-vae inspect model --quiet
    anomaly-vae inspect s3://models/fraud/4 --verify-key release.pub.pem
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.scorer import load

    refuse_table_as_model(model)
    scorer = load(model, verify_key=verify_key)
    info = scorer.info
    if as_json:
        click.echo(json.dumps(info, indent=2, ensure_ascii=False))
    elif not quiet:
        _print(model, info, scorer.schema)


def _print(model: str, info: dict[str, Any], schema: Schema) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    training, calibration = info["training"], info["calibration"]
    confidence = calibration["confidence"]
    facts = {
        "model": model,
        "made by": f"{info['created_by']}, {info['created_at']}, format {info['format_version']}",
        "digest": info["bundle_digest"],
        **shape_facts(schema),
        "networks": "; ".join(networks_text(member) for member in info["members"]),
        "training": f"{training['num_rows']:,} {_WHAT[schema.kind]}, {training['steps']:,} steps, "
        f"best at {training['best_step']:,}" + (" (interrupted)" if training["interrupted"] else ""),
        "held-out": f"ELBO {training['held_out_elbo']:.4g} nats, KL {training['held_out_kl']:.4g} nats, "
        f"{training['num_held_out']:,} rows",
        "estimator": estimator_text(info["estimator"]),
        "threshold": f"{calibration['threshold']:.6g} nats, "
        f"rank {calibration['rank']} of {calibration['num_rows']:,} rows"
        + (f", {calibration['num_novel']} of them lowest by new values" if calibration["num_novel"] else ""),
        **_upper_threshold(calibration),
        **_contrast(calibration, info["contrast"]),
        "false-positive rate": f"at most {calibration['effective_fpr']:.4g}"
        + (f" with confidence {confidence:g}" if confidence else "")
        + f" (requested {calibration['target_fpr']:g})",
        "label column": info["schema"]["label"] or "none",
    }
    for name, value in facts.items():
        click.echo(f"{name:<21}{value}")
    click.echo()
    console.print(_gates(training["gates"]))
    if len(training["candidates"]) > 1:
        console.print(_candidates(training["candidates"]))
    console.print(_columns(info) if schema.shape is None else _channels(info, schema))
    if read := how_inputs_are_read(schema):
        table = _table("input", "read as")
        for name, text in read.items():
            table.add_row(escape(name), escape(text))
        console.print(table)


def _upper_threshold(calibration: dict[str, Any]) -> dict[str, str]:
    threshold = calibration["upper_threshold"]
    text = f"rank {calibration['rank']} from the highest; scores above it are anomalies too"
    return {} if threshold is None else {"upper threshold": f"{threshold:.6g} nats, {text}"}


def _contrast(calibration: dict[str, Any], contrast: dict[str, Any] | None) -> dict[str, str]:
    if contrast is None:
        return {}
    rank, steps = calibration["contrast_rank"], contrast["steps"]
    return {
        "contrast": f"threshold {calibration['contrast_threshold']:.6g} nats, rank {rank}; {steps:,} steps against "
        f"{len(contrast['against'])} kinds of images, held-out loss {contrast['held_out_loss']:.3g} nats"
    }


def _gates(gates: list[dict[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("release gate", "", "found")
    for gate in gates:
        word = {True: "passed", False: "[bold red]failed[/]", None: "[dim]not applied[/]"}[gate["passed"]]
        table.add_row(escape(gate["name"]), word, escape(gate["detail"]))
    return table


def _candidates(candidates: list[dict[str, Any]]) -> Table:
    from rich.markup import escape

    settings = [candidate["settings"] for candidate in candidates]
    varied = [name for name in settings[0] if len({str(each[name]) for each in settings}) > 1]
    table = _table("tried", *varied, "held-out ELBO", "criterion")
    for candidate in candidates:
        values = [escape(str(candidate["settings"][name])) for name in varied]
        criterion = "" if candidate["criterion"] is None else f"{candidate['criterion']:.4f}"
        word = "chosen" if candidate["chosen"] else ""
        table.add_row(word, *values, f"{candidate['held_out_elbo']:.4f}", criterion)
    return table


def _columns(info: dict[str, Any]) -> Table:
    """Return a table with the kind of each column and its heads, one head per member of the ensemble."""
    import msgspec
    from rich.markup import escape

    from anomaly_vae.columns.heads import Head
    from anomaly_vae.columns.schema import Column

    table = _table("column", "kind", "values", "range", "new values", "center", "scale", "head")
    modelled = zip(*(member["columns"] for member in info["members"]), strict=True)
    for values in info["schema"]["columns"]:
        column = msgspec.convert(values, Column)
        facts = escape(column.name), column.kind, escape(values_text(column))
        if not column.is_modelled:
            table.add_row(*facts, "", new_values_text(column), "", "", "")
            continue
        models = next(modelled)
        transform = models[0]["transform"] or {}
        center, scale = (transform.get(key, math.nan) for key in ("center", "scale"))
        numbers = ["" if math.isnan(number) else f"{number:.6g}" for number in (center, scale)]
        heads = " | ".join(msgspec.convert(model["head"], Head).summary for model in models)
        table.add_row(*facts, range_text(models[0]["tails"]), new_values_text(column), *numbers, heads)
    return table


def _channels(info: dict[str, Any], schema: Schema) -> Table:
    """Return a table with the cells of each channel of windows or images."""
    from rich.markup import escape

    table = _table("channel", "cells", "range", "heads of the cells")
    for row in channel_rows(schema, info["members"]):
        table.add_row(*map(escape, row))
    return table


def _table(*names: str) -> Table:
    from rich.table import Table

    return Table(*names, box=None, header_style="bold")
