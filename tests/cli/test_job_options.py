"""The options of a long job."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from anomaly_vae.cli.job_options import JobOptions, job_options, refuse_early
from anomaly_vae.errors import ConfigError


def asked(*arguments):
    seen = []

    @click.command()
    @job_options
    def command(job):
        seen.append(job)

    done = CliRunner().invoke(command, arguments)
    return seen[0] if seen else done.output


def test_a_command_gets_the_options_as_one_argument():
    assert asked() == JobOptions()
    assert asked("--resume", "--on-error", "skip", "--memory", "1.5GB") == JobOptions(True, True, 1_500_000_000)


@pytest.mark.parametrize(
    ("text", "number"), [("1000", 1000), ("2k", 2000), ("500MB", 5 * 10**8), ("2 GiB", 2**31), ("1.5gib", 3 * 2**29)]
)
def test_sizes_have_units(text, number):
    assert asked("--memory", text).memory == number


@pytest.mark.parametrize("text", ["much", "5 apples", "-1MB", "1TB", ""])
def test_other_sizes_are_refused(text):
    assert "expected bytes with a unit, such as 500MB or 2GiB" in asked("--memory", text)


@pytest.mark.parametrize(
    ("options", "name"),
    [(JobOptions(resume=True), "--resume"), (JobOptions(skips=True), "--on-error"), (JobOptions(memory=1), "--memory")],
)
def test_images_and_series_have_no_such_options(options, name):
    with pytest.raises(ConfigError, match=f"{name}.* is for rows of tables; here not"):
        options.refuse("here not")
    JobOptions().refuse("anything")


def test_an_output_is_refused_before_anything_is_opened(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out.csv").write_text("")
    for output in ("out", "out/", "out.csv"):
        with pytest.raises(ConfigError, match="exists already"):
            refuse_early(f"{tmp_path}/{output}", f"{tmp_path}/in", overwrite=False, resume=False)
        refuse_early(f"{tmp_path}/{output}", f"{tmp_path}/in", overwrite=False, resume=True)
        refuse_early(f"{tmp_path}/{output}", f"{tmp_path}/in", overwrite=True, resume=False)
    refuse_early("-", "-", overwrite=False, resume=False)
    with pytest.raises(ConfigError, match="expected a file ending in"):
        refuse_early(f"{tmp_path}/new", f"{tmp_path}/in.csv", overwrite=False, resume=False)
