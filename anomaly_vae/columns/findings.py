"""What the user should know about the columns of a table."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Finding"]


class Finding(NamedTuple):
    """What the user should know about one column.

    Attributes:
        column: Its name; empty for a column without a name.
        taken_for: What it is taken for, in words.
        text: What was found and what follows, as the end of a sentence that begins with the column.
        is_left_out: Whether the model does without it.
        remedy: What to do if that is wrong; empty if nothing helps.
    """

    column: str
    taken_for: str
    text: str
    is_left_out: bool = False
    remedy: str = ""

    def __str__(self) -> str:
        remedy, name = f"; {self.remedy}" if self.remedy else "", f" {self.column!r}" if self.column else ""
        return f"column{name} {self.text}{remedy}"
