"""The options that say how a table is read, and what is said about it."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from anomaly_vae.cli.table_options import missing_values, read_options, say_how_it_was_read
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.table import ReadOptions
from tests.support.tables import csv_table

COLUMN = Column(name="a", kind="continuous")


def parsed(*arguments):
    got = []

    @click.command()
    @missing_values
    @read_options
    def command(missing_values, reading):
        got.append((reading, missing_values))

    done = CliRunner().invoke(command, arguments)
    return got[0] if got else done.output


def test_without_options_everything_is_found():
    assert parsed() == (ReadOptions(), ())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sep", "tab"], {"separator": "\t"}),
        (["--sep", "\\t"], {"separator": "\t"}),
        (["--sep", ";"], {"separator": ";"}),
        (["--sep", "Semicolon"], {"separator": ";"}),
        (["--sep", "pipe", "--decimal", ","], {"separator": "|", "decimal": ","}),
        (["--encoding", "Latin-1"], {"encoding": "iso8859-1"}),
    ],
)
def test_options_say_how_a_text_is_read(arguments, expected):
    assert parsed(*arguments) == (ReadOptions(**expected), ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sep", ";;"], "';;' is not a character such as ; or tab"),
        (["--sep", '"'], "is not a character such as ; or tab"),
        (["--decimal", "x"], "is not one of '.', ','"),
        (["--encoding", "klingon"], "'klingon' is not an encoding such as utf-8, latin-1 or utf-16"),
    ],
)
def test_options_that_are_not_possible_are_refused(arguments, message):
    assert message in parsed(*arguments)


def test_markers_are_separated_by_commas():
    assert parsed("--missing-values", "unknown, 9999,-") == (ReadOptions(), ("unknown", "9999", "-"))


def test_what_was_found_is_said_unless_quiet(capsys):
    say_how_it_was_read(csv_table("a;b\n1,5;2\n"), quiet=False)
    assert capsys.readouterr().err == "anomaly-vae: text: cells separated by ';', decimal commas\n"
    say_how_it_was_read(csv_table("a;b\n1,5;2\n"), quiet=True)
    say_how_it_was_read(csv_table("a,b\n1.5,2\n"), Schema(columns=(COLUMN,), encoding="utf-8"), quiet=False)
    say_how_it_was_read(csv_table(b"a\n\xe9\n"), Schema(columns=(COLUMN,)), quiet=True)
    assert capsys.readouterr() == ("", "")


def test_another_encoding_than_in_training_is_a_warning(capsys):
    """A letter that was read in another way is a category that training never had."""
    say_how_it_was_read(csv_table(b"a,b\n\xe9,1\n"), Schema(columns=(COLUMN,), encoding="utf-8"), quiet=True)
    assert capsys.readouterr().err == (
        "anomaly-vae: warning: text is read as cp1252, the training table was utf-8; if letters such as é look wrong "
        "in the output, give --encoding\n"
    )


def test_a_file_that_states_its_encoding_is_no_reason_to_warn(capsys):
    table = csv_table("a,b\n\u00e9,1\n".encode("utf-16"))
    assert table.source.encoding == "utf-16-le"
    say_how_it_was_read(table, Schema(columns=(COLUMN,), encoding="utf-8"), quiet=True)
    assert capsys.readouterr().err == ""
