"""The words, values and marks of a filter."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal, NamedTuple

from anomaly_vae.errors import ConfigError

__all__ = ["Token", "mistake", "tokens_of"]

Kind = Literal["word", "name", "text", "number", "mark", "end"]

_PATTERN = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?(?!\w))
    |(?P<word>[^\W\d]\w*)
    |"(?P<name>(?:[^"]|"")+)"
    |'(?P<text>(?:[^']|'')*)'
    |(?P<mark><=|>=|<>|!=|==|[=<>(),+-])
    )""",
    re.VERBOSE,
)

_KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "LIKE", "TRUE", "FALSE"})


class Token(NamedTuple):
    """A part of a filter.

    Attributes:
        kind: A keyword ("word"), the name of a column, a value, a mark such as <=, or the end.
        text: Keywords in capitals; names and texts without their quotes.
        start: Characters before it.
        number: The value of a number.
    """

    kind: Kind
    text: str
    start: int
    number: Fraction = Fraction(0)


def tokens_of(filter_: str) -> list[Token]:
    """Split a filter.

    Raises:
        ConfigError: A character belongs to nothing that a filter has, or a quote is left open.
    """
    found: list[Token] = []
    place = 0
    while filter_[place:].strip():
        match = _PATTERN.match(filter_, place)
        if match is None:
            start = place + len(filter_[place:]) - len(filter_[place:].lstrip())
            is_open = filter_[start] in "'\""
            raise mistake(filter_, start, "this quote is not closed" if is_open else "this is no part of a filter")
        found.append(_token(match))
        place = match.end()
    return [*found, Token("end", "", len(filter_.rstrip()))]


def mistake(filter_: str, start: int, what: str) -> ConfigError:
    """Return the error for a mistake at a place, which a caret marks. It is one line, as all errors are."""
    shown = f"{filter_[:start]}^{filter_[start:]}".replace("\n", " ")
    return ConfigError(f"--filter: {what} at character {start + 1}, marked by ^: {shown}")


def _token(match: re.Match[str]) -> Token:
    kind = str(match.lastgroup)
    text, start = match[kind], match.start(kind)
    if kind == "number":
        return Token("number", text, start, Fraction(text))
    if kind == "word":
        is_keyword = text.upper() in _KEYWORDS
        return Token("word" if is_keyword else "name", text.upper() if is_keyword else text, start)
    if kind == "name":
        return Token("name", text.replace('""', '"'), start - 1)
    if kind == "text":
        return Token("text", text.replace("''", "'"), start - 1)
    return Token("mark", text, start)
