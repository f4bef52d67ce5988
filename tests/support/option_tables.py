"""docs/options.md, made from the command line and from VAEDetector.

    python -m tests.support.option_tables

``make docs`` runs this; a test compares the file with what the code says.
"""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

import click

from anomaly_vae.cli import cli
from anomaly_vae.training.detector import VAEDetector
from tests.support.documents import ROOT

PAGE = ROOT / "docs" / "options.md"

_HEADER = """\
<!-- Made by `make docs` from the code. Do not edit. -->
# Options

`anomaly-vae COMMAND --help` prints the same texts.
"""

# A bracket at the end of a help text; click writes one with its own facts, and some texts have one of theirs.
_BRACKET = re.compile(r"\s*\[([^\[\]]*)\]$")
# The facts within a bracket of click. A "; " within a default does not separate two of them.
_NEXT_FACT = re.compile(r"; (?=env var: |default: |required$|[-\d.x]+<)")


class Row(NamedTuple):
    """An option or parameter as the page shows it."""

    name: str
    default: str = ""
    variable: str = ""
    meaning: str = ""


def page() -> str:
    """The text of docs/options.md."""
    parts = [_HEADER]
    with click.Context(cli, info_name="anomaly-vae") as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command
            parts.append(_command(name, command, context))
    parts.append(_parameters())
    return "\n".join(parts)


def _command(name: str, command: click.Command, parent: click.Context) -> str:
    with click.Context(command, info_name=name, parent=parent) as context:
        options = [option for option in command.params if isinstance(option, click.Option)]
        records = [option.get_help_record(context) for option in options]
        usage = " ".join(["anomaly-vae", name, *command.collect_usage_pieces(context)])
        text = (command.help or "").split("\n\n", 1)[0].replace("\n", " ")
    rows = [option_row(*record) for record in records if record]
    return f"## anomaly-vae {name}\n\n{_escaped(text)}\n\n`{usage}`\n\n{_table('option', rows)}"


def option_row(names: str, text: str) -> Row:
    """Split the help of an option into its parts."""
    facts = []
    while found := _BRACKET.search(text):
        facts += _NEXT_FACT.split(found[1])
        text = text[: found.start()]
    said = {name: value for name, _, value in (fact.partition(": ") for fact in facts) if value}
    others = [fact for fact in facts if ": " not in fact]
    default = "required" if "required" in others else said.pop("default", "")
    limits = [f"`{fact}`" for fact in others if fact != "required"]
    variable = said.pop("env var", "")
    assert not said, f"{names}: what is {said}?"
    shown = names.removesuffix(" RANGE").replace("|", "\\|")
    return Row(
        f"`{shown}`", _escaped(default), f"`{variable}`" if variable else "", " ".join([_escaped(text), *limits])
    )


def _parameters() -> str:
    """The parameters of VAEDetector: defaults from its signature, meanings from its docstring."""
    meanings: dict[str, str] = {}
    lines = inspect.getdoc(VAEDetector) or ""
    section = lines.split("Args:\n", 1)[1].split("\n\n", 1)[0]
    for line in section.splitlines():
        start = re.match(r"^    (\w+): (.*)$", line)
        if start:
            name = start[1]
            meanings[name] = start[2]
        else:
            meanings[name] += f" {line.strip()}"
    defaults = inspect.signature(VAEDetector).parameters
    assert list(defaults) == list(meanings), "VAEDetector's docstring has other parameters than its signature"
    rows = [Row(f"`{name}`", f"`{defaults[name].default!r}`", "", _escaped(text)) for name, text in meanings.items()]
    intro = "All parameters are keyword-only. Each is also a key of the file of `train --config`, except `verbose`."
    return f"## VAEDetector\n\n{intro}\n\n{_table('parameter', rows)}"


def _table(kind: str, rows: list[Row]) -> str:
    """A table; the column of variables only where there are some."""
    head = [kind, "default", "environment variable", "meaning"]
    kept = [column for column in range(4) if column != 2 or any(row.variable for row in rows)]
    lines = [[head[column] for column in kept], ["---"] * len(kept)]
    lines += [[row[column] for column in kept] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
