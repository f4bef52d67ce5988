"""The command line: one module per command, imported when it runs."""

from __future__ import annotations

import importlib

import click

import anomaly_vae
from anomaly_vae.cli import options
from anomaly_vae.cli.errors import run

__all__ = ["cli", "main"]

_COMMANDS = {
    "demo": "Train, calibrate, export, score and serve on a real table, and show the flags.",
    "train": "Train a model on a table and write it as a bundle.",
    "calibrate": "Set the threshold of a model anew from other normal rows.",
    "score": "Compute log p(x), its error, a p-value and a flag for every row of a table.",
    "serve": "Serve a model over gRPC, with probes and Prometheus metrics.",
    "token": "Make a token with which a client may call a served model.",
    "encode": "Write where each row lies in the latent space of a model.",
    "sample": "Draw synthetic rows from a model.",
    "inspect": "Show what a model is, how it was trained and where its threshold lies.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"anomaly_vae.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(anomaly_vae.__version__, message="anomaly-vae %(version)s")
@options.verbose
def cli() -> None:
    """Find the rows that do not belong, by log p(x) with an error bar and a calibrated threshold.

    \b
    Try it:      anomaly-vae demo
    Your data:   anomaly-vae train normal.csv -o model
                 anomaly-vae score model new.csv -o scores.csv
    A service:   anomaly-vae serve model

    Tables are .csv or .parquet files with one named column of numbers or texts per feature. Log-densities are in nats,
    in the units of the data: higher is more normal.
    """  # noqa: D301 (click reads the backspace as: keep these lines)


def main() -> None:
    """Run the command line and exit."""
    run(cli)
