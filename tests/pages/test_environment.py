"""Templates: escaped, strict, and all in the installed package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from anomaly_vae.pages import environment
from tests.support.documents import ROOT
from tests.support.hostile_texts import HOSTILE


def test_every_text_is_escaped_and_cleaned():
    template = environment._environment().from_string('<p title="{{ text }}">{{ text }}{{ text|short(99) }}</p>')
    for text in HOSTILE:
        page = template.render(text=text)
        assert page.count("<") == page.count(">") == 2
        assert page.count('"') == 2
        assert "49" not in page
        page.encode("utf-8")


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="notes"):
        environment.render("profile.html", title="t", columns=[], toml="")


def test_no_template_loads_anything_or_holds_a_script():
    folder = Path(environment.__file__).parent / "templates"
    for path in folder.iterdir():
        text = path.read_text()
        for mark in ("<script", "http://", "https://", "@import", "url(", "javascript:", "<link"):
            assert mark not in text, f"{path.name}: {mark}"
    base = (folder / "base.html").read_text()
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in base


def test_the_templates_are_data_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "pages/templates/*" in settings["tool"]["setuptools"]["package-data"]["anomaly_vae"]
