"""The docstrings of the public API read well in pydoc, help() and editors, and their examples run."""

from __future__ import annotations

import doctest
import inspect
import pydoc
import re
import shutil
from dataclasses import fields, is_dataclass

import pytest

import anomaly_vae
from anomaly_vae import client, errors
from anomaly_vae.scores import FlagRow, ScoreRow
from anomaly_vae.series.live import StepResult
from anomaly_vae.series.results import SeriesRow, SeriesScores

# Everything that a program imports by name.
PUBLIC = {
    "load": anomaly_vae.load,
    "Scorer": anomaly_vae.Scorer,
    "Scores": anomaly_vae.Scores,
    "ScoreRow": ScoreRow,
    "Flags": anomaly_vae.Flags,
    "FlagRow": FlagRow,
    "VAEDetector": anomaly_vae.VAEDetector,
    "Why": anomaly_vae.Why,
    "SeriesScorer": anomaly_vae.SeriesScorer,
    "StepResult": StepResult,
    "SeriesScores": SeriesScores,
    "SeriesRow": SeriesRow,
    "Client": client.Client,
    "AsyncClient": client.AsyncClient,
    "Tls": client.Tls,
} | {name: getattr(errors, name) for name in errors.__all__}

EVERY_NAME = pytest.mark.parametrize("name", PUBLIC)

# Markup that only Sphinx shows well.
ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|math|exc|ref):`|^\s*\.\. ", re.MULTILINE)

# The first words of a docstring that leaves the parameters to another one.
REFERS = ("As ``", "Like ``")


def members_of(cls):
    """The public methods and properties that the package defines."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        is_ours = (getattr(function, "__module__", None) or "").startswith("anomaly_vae.")
        if not name.startswith("_") and is_ours and not inspect.isclass(member):
            yield name, member


def documented(name):
    """The object itself and its members, by dotted name."""
    found = {name: PUBLIC[name]}
    if inspect.isclass(PUBLIC[name]):
        found |= {f"{name}.{member}": of for member, of in members_of(PUBLIC[name])}
    return found


@EVERY_NAME
def test_docstrings_are_there_without_markup(name):
    for path, of in documented(name).items():
        text = inspect.getdoc(of)
        assert text, f"{path} has no docstring"
        assert not ROLE.search(text), f"{path}: {text}"
        assert len(re.sub(r"``[^`\n]+``", "", text).split("`")) == 1, f"{path}: mixed backticks"


@pytest.mark.parametrize(
    "name", [name for name in PUBLIC if name not in {"ScoreRow", "FlagRow", "SeriesRow", *errors.__all__}]
)
def test_every_parameter_is_described(name):
    """A row says whose fields it has, and an error is not made by users."""
    for path, of in documented(name).items():
        if isinstance(of, property):
            continue
        text = inspect.getdoc(of) + (inspect.getdoc(of.__init__) or "" if inspect.isclass(of) else "")
        if not text.startswith(REFERS):
            described = set(re.findall(r"\w+", " ".join(re.findall(r"^ +((?:\w+, )*\w+): ", text, re.MULTILINE))))
            missing = [each for each in inspect.signature(of).parameters if each not in described]
            assert missing in ([], ["self"]), path


@EVERY_NAME
def test_every_field_is_described(name):
    of = PUBLIC[name]
    if is_dataclass(of) and of not in (ScoreRow, FlagRow, SeriesRow):  # which say whose fields they have
        described = re.findall(r"^    (\w+): ", inspect.getdoc(of), re.MULTILINE)
        assert [field.name for field in fields(of)] == described


@EVERY_NAME
def test_help_shows_the_docstring(name):
    page = pydoc.render_doc(PUBLIC[name], renderer=pydoc.plaintext)
    assert inspect.getdoc(PUBLIC[name]).splitlines()[0] in page


def test_help_of_the_package_lists_the_public_names():
    page = pydoc.render_doc(anomaly_vae, renderer=pydoc.plaintext)
    assert [name for name in anomaly_vae.__all__ if name.isalpha() and name not in page] == []


def test_the_package_lists_and_gives_its_names():
    assert dir(anomaly_vae) == sorted(anomaly_vae.__all__)
    names: dict[str, object] = {}
    exec("from anomaly_vae import *", names)  # noqa: S102 (our own code)
    assert set(anomaly_vae.__all__) <= set(names)


@pytest.mark.parametrize("name", ["load", "Scorer", "Scores", "VAEDetector"])
def test_the_examples_run(name, model_path, tmp_path, monkeypatch):
    shutil.copytree(model_path, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={"load": anomaly_vae.load})
    runner = doctest.DocTestRunner()
    report: list[str] = []
    results = [runner.run(each, out=report.append) for each in found]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0, "".join(report)
