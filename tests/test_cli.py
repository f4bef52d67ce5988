"""The command line as a whole: help, version, and a call without arguments."""

from __future__ import annotations

import re

import pytest

import anomaly_vae
from tests.support.command_line import cli


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["train"], ["calibrate"], ["score"], ["encode"], ["sample"], ["inspect"]]
)
def test_help_teaches(tmp_path, command):
    text = cli(tmp_path, *command, "--help").stdout
    assert "Usage: anomaly-vae" in text
    assert len(text.splitlines()) > 8
    assert "\\b" not in text
    example = r"^ +(Try it: +)?anomaly-vae [\w .-]+$"  # on its own line
    assert re.search(example, text, re.MULTILINE), text


def test_no_arguments_teach(tmp_path):
    done = cli(tmp_path)
    assert done.returncode == 2
    assert "Usage: anomaly-vae" in done.stderr
    assert len(done.stderr.splitlines()) > 8


def test_version(tmp_path):
    assert cli(tmp_path, "--version").stdout.strip() == f"anomaly-vae {anomaly_vae.__version__}"
