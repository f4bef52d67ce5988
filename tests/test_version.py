"""The version of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.version import Version

import anomaly_vae
from anomaly_vae.version import __version__

ROOT = Path(__file__).parents[1]


def test_the_version_is_written_as_packaging_tools_write_it():
    """PEP 440 in its normal form: pip, the wheel's name and `--version` then show the same text."""
    assert str(Version(__version__)) == __version__
    assert anomaly_vae.__version__ == __version__


def test_the_build_reads_the_version_from_the_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "anomaly_vae.version.__version__"
    assert "version" in project["project"]["dynamic"]
    assert "version" not in project["project"]
