"""``anomaly-vae inspect``."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from anomaly_vae.cli import options


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON.")
@options.verbose
def command(model: Path, as_json: bool) -> None:
    """Show the columns, the training, the calibration and the estimator of MODEL, after checking the whole bundle."""
    from anomaly_vae.scorer import load

    info = load(model).info
    if as_json:
        click.echo(json.dumps(info, indent=2, ensure_ascii=False))
        return
    _print(model, info)


def _print(model: Path, info: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    training, calibration, architecture = info["training"], info["calibration"], info["architecture"]
    confidence = calibration["confidence"]
    facts = {
        "model": str(model),
        "made by": f"{info['created_by']}, {info['created_at']}, format {info['format_version']}",
        "digest": info["bundle_digest"],
        "networks": f"{architecture['kind']}, hidden {architecture['hidden']}, "
        f"latent dimensions {architecture['latent_dim']}",
        "likelihood": f"{info['likelihood']['kind']}, variance {info['likelihood']['variance']} per column",
        "training": f"{training['num_rows']:,} rows, {training['steps']:,} steps, best at {training['best_step']:,}"
        + (" (interrupted)" if training["interrupted"] else ""),
        "held-out": f"ELBO {training['held_out_elbo']:.4g} nats, KL {training['held_out_kl']:.4g} nats, "
        f"{training['num_held_out']:,} rows",
        "estimator": f"{info['estimator']['num_samples']:,} samples a row, "
        f"{info['estimator']['scramblings']} scramblings",
        "threshold": f"{calibration['threshold']:.6g} nats, "
        f"rank {calibration['rank']} of {calibration['num_rows']:,} rows",
        "false-positive rate": f"at most {calibration['effective_fpr']:.4g}"
        + (f" with confidence {confidence:g}" if confidence else "")
        + f" (asked for {calibration['target_fpr']:g})",
        "label column": info["schema"]["label"] or "none",
    }
    for name, value in facts.items():
        click.echo(f"{name:<21}{value}")
    click.echo()
    columns = Table("column", "kind", "center", "scale", "std given z", box=None, header_style="bold")
    modelled = iter(
        zip(info["transform"]["center"], info["transform"]["scale"], info["likelihood"]["log_var"], strict=True)
    )
    for column in info["schema"]["columns"]:
        if column["kind"] == "constant":
            columns.add_row(escape(column["name"]), "constant", f"{column['value']:.6g}", "", "")
        else:
            center, scale, log_var = next(modelled)
            spread = scale * math.exp(0.5 * log_var)
            columns.add_row(escape(column["name"]), column["kind"], f"{center:.6g}", f"{scale:.6g}", f"{spread:.4g}")
    console.print(columns)
