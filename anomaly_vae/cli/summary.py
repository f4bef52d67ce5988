"""The summary at the end of a command: a line of text, or one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["print_summary"]


def print_summary(
    text: str, facts: Mapping[str, Any], *, as_json: bool, quiet: bool, output: str | None = None
) -> None:
    """Print what a command did.

    The text goes to standard error; ``quiet`` leaves it out. With ``as_json`` the facts are printed in its place, as
    one line of JSON on standard output, also if ``quiet``: the user asked for them. If the output of the command is
    "-", standard output holds the table, and the JSON goes to standard error.

    Args:
        text: One line or more for people, without the name of the output.
        facts: Plain values by name, for programs. They start with ``output``, if there is one.
        as_json: Print the facts in place of the text.
        quiet: Print no text.
        output: The path that was written, or "-"; None if the text and the facts name it, or nothing was written.
    """
    if as_json:
        named = {**({} if output is None else {"output": output}), **facts}
        click.echo(json.dumps(named, ensure_ascii=False, allow_nan=False), err=output == "-")
    elif not quiet:
        prefix = "" if output is None else f"{'standard output' if output == '-' else output}: "
        click.echo(f"{prefix}{text}", err=True)
