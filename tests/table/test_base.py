"""What all tables share: the texts of errors."""

from __future__ import annotations

import pytest

from anomaly_vae.table.base import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("one\ntwo"), "one"), (KeyError(), "KeyError"), (OSError(5, "five"), "[Errno 5] five")],
)
def test_an_error_of_many_lines_becomes_one_line(error, line):
    """The texts of Arrow have several lines; messages of this package have one."""
    assert first_line(error) == line
