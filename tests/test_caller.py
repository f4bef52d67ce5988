"""Warnings name the file and the line of the user, not of the package."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path

import pytest

import anomaly_vae
from anomaly_vae.caller import warn_caller
from anomaly_vae.errors import AnomalyVaeWarning
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated

PACKAGE = Path(anomaly_vae.__file__).parent


def test_a_warning_has_the_file_and_the_line_of_the_call():
    """However deep in the package it is issued."""
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(AnomalyVaeWarning, match="no flag") as caught:
        warn_uncalibrated(ScoreOptions(num_samples=16), 32)
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, line)]


def test_the_category_and_the_text_are_those_of_the_call():
    with pytest.warns(DeprecationWarning, match="^old$") as caught:
        warn_caller("old", DeprecationWarning)
    assert caught[0].filename == __file__


def test_filters_choose_warnings_by_category_and_module():
    for options in ({"category": AnomalyVaeWarning}, {"module": re.escape(__name__)}):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", **options)
            warn_caller("a text")
        assert caught == []
    with pytest.raises(AnomalyVaeWarning, match="a text"):
        warn_caller("a text")  # an error by the settings of these tests


def test_a_warning_of_one_line_is_shown_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn_caller("a text that no other test has")
    assert len(caught) == 1


def test_code_of_the_package_alone_names_its_outermost_line():
    """As for ``python -m anomaly_vae``: there may be no frame of a user."""
    code = compile("from anomaly_vae.caller import _caller\nimport sys\nfound = _caller(sys._getframe())", "x", "exec")
    names: dict[str, object] = {}
    exec(code.replace(co_filename=f"{PACKAGE}/x.py"), names)  # noqa: S102 (our own code)
    assert names["found"].f_code.co_filename == __file__


def test_no_module_issues_warnings_in_another_way():
    """``warnings.warn`` with a stacklevel would point into the package as soon as a function is added between."""
    users = [path for path in PACKAGE.rglob("*.py") if re.search(r"\bwarnings\.warn\b", path.read_text())]
    assert [str(path.relative_to(PACKAGE)) for path in users] == ["caller.py"]  # which names it in a docstring
