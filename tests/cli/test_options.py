"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from anomaly_vae.cli import options
from anomaly_vae.cli.reporting import DETAILS
from anomaly_vae.record import TAILS


def run(option, *arguments):
    """The values of a command with one option."""
    found = []
    command = click.command()(option(lambda **values: found.append(values | click.get_current_context().meta)))
    result = CliRunner().invoke(command, arguments)
    return found[0] if found else result


@pytest.mark.parametrize(
    ("text", "names"), [("a,b", ("a", "b")), (" a , b c, ,", ("a", "b c")), ("", ()), (",", ()), ("a", ("a",))]
)
def test_names_are_split_at_commas(text, names):
    assert run(click.option("--keep", type=options.Names()), "--keep", text) == {"keep": names}


def test_names_that_are_converted_already_stay_as_they_are():
    """Click converts defaults and values of a configuration file again."""
    assert run(click.option("--keep", type=options.Names(), default=("a,b",)))["keep"] == ("a,b",)


@pytest.mark.parametrize("rate", ["0", "1", "-0.1", "1.5"])
def test_a_rate_lies_between_0_and_1_and_is_neither(rate):
    option = click.option("--rate", type=options.Rate)
    assert run(option, "--rate", "0.25") == {"rate": 0.25}
    refused = run(option, "--rate", rate)
    assert refused.exit_code == 2
    assert "0.0<x<1.0" in refused.output


@pytest.mark.parametrize("rate", ["1%", "5"])
def test_a_wrong_rate_is_refused_with_an_example(rate):
    refused = run(click.option("--at", type=options.Rates()), "--at", f"0.1,{rate}")
    assert refused.exit_code == 2
    assert f"'{rate}' is no rate; expected numbers between 0 and 1, such as 0.01" in refused.output


def test_a_page_has_the_name_of_a_page():
    option = click.option("--html", type=options.PagePath())
    for name in ("a.html", "b.HTM"):
        assert run(option, "--html", name) == {"html": Path(name)}
    for name in ("a.pdf", "page", "-"):
        refused = run(option, "--html", name)
        assert refused.exit_code == 2
        assert "ends in .html" in refused.output


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_is_kept_for_the_report_of_errors_and_not_passed_to_the_command(flag):
    assert run(options.verbose, flag) == {DETAILS: True}
    assert run(options.verbose) == {DETAILS: False}


def test_verbose_of_the_group_is_not_undone_by_a_command():
    found = []
    command = options.verbose(lambda: found.append(click.get_current_context().meta[DETAILS]))
    group = click.group()(options.verbose(lambda: None))
    group.add_command(click.command("go")(command))
    for arguments in (["-v", "go"], ["go", "-v"], ["go"]):
        assert CliRunner().invoke(group, arguments).exit_code == 0
    assert found == [True, True, False]


@pytest.mark.parametrize(
    ("option", "arguments", "value"),
    [
        (options.threads, [], None),
        (options.threads, ["--threads", "3"], 3),
        (options.overwrite, ["--overwrite"], True),
        (options.quiet, ["-q"], True),
    ],
)
def test_shared_options_have_these_names(option, arguments, value):
    assert list(run(option, *arguments).values()) == [value]
    assert run(options.threads, "--threads", "0").exit_code == 2


def test_every_tail_can_be_chosen():
    """The option lists them itself: see the test of what completing imports."""
    for tail in TAILS:
        assert run(options.tail, "--tail", tail) == {"tail": tail}
    assert f"'{TAILS[-1]}'." in run(options.tail, "--tail", "high").output
