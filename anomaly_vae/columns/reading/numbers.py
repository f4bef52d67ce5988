"""Numbers as people write them: 1,234.50 or 1.234,50, $1,200.25, 12 %, (300)."""

from __future__ import annotations

import functools
import re
import sys
from collections import Counter
from collections.abc import Mapping

from anomaly_vae.columns.reading.records import CellError, Decimal, NumberReading

__all__ = [
    "as_python",
    "decimal_evidence",
    "is_rounded",
    "number_format",
    "parse_number",
    "swap_decimal",
    "usual_affix",
    "usual_form",
]

_SYMBOLS = "$€£¥₹₽₩₺₴₫฿₪₦"
_CODES = (
    "USD EUR GBP CHF JPY CNY INR CAD AUD NZD SEK NOK DKK PLN CZK HUF RUB TRY BRL MXN ZAR KRW SGD HKD Rs kr zł Kč "
    "R$ US$ A$ C$ % ‰"
)
# Texts before or after a number that do not change its value within one column; longer ones are tried first.
_AFFIX = "|".join(map(re.escape, sorted([*_SYMBOLS, *_CODES.split()], key=len, reverse=True)))
_BRACKETS = "()"  # (300) is -300 in accounting
# Spaces are matched without going back: a long row of them would otherwise take time with the cube of its length.
_DRESSED = re.compile(
    rf"^(?P<open>\()?(?P<sign>[-+])?\s*+(?P<prefix>{_AFFIX})?\s*+"
    rf"(?P<body>[-+]?[0-9.,' ]*[0-9][.,]?(?:[eE][-+]?[0-9]+)?)\s*+(?P<suffix>{_AFFIX})?(?P<close>\))?$"
)

# Spaces and signs that are other characters in print than in code.
_PLAIN_CHARACTERS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-", "\u2019": "'"})

# The share of the cells of a column that one format must fit. Chosen, not measured: the rest are errors of typing.
_LEAST_SHARE = 0.9

# Formats in the order in which they are preferred where several fit all cells: a mark of thousands is assumed only
# where it is needed, and a lone point is a decimal point.
_MARKS: tuple[tuple[Decimal, str], ...] = (
    (".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"),
)  # fmt: skip


def parse_number(text: str, reading: NumberReading) -> float:
    """Return the number in a cell.

    Raises:
        CellError: float64 would round a whole number.
        ValueError: The cell holds no number of this format.
    """
    if reading.is_plain:
        return _exact(as_python(text))
    if reading.truth and (found := {"true": 1.0, "false": 0.0}.get(text.lower())) is not None:
        return found
    undressed = _undress(text)
    if undressed is None:
        raise ValueError(text)
    body, affixes = undressed
    if not affixes <= set(reading.affixes) or not _pattern(reading.decimal, reading.thousands).fullmatch(body):
        raise ValueError(text)
    return _exact((body.replace(reading.thousands, "") if reading.thousands else body).replace(",", "."))


def number_format(
    texts: Mapping[str, int], decimal: Decimal | None, *, is_certain: bool = False
) -> NumberReading | None:
    """Return the format of numbers that fits most cells; None if none fits at least 90 % of them.

    Args:
        texts: The cells and their counts.
        decimal: The decimal mark that other columns of the table show; it decides where both fit, as in 1,234.
        is_certain: Whether no other mark is possible.
    """
    bodies: Counter[str] = Counter()
    affixes: Counter[str] = Counter()
    for text, count in texts.items():
        if (undressed := _undress(text)) is not None:
            bodies[undressed[0]] += count
            affixes.update(dict.fromkeys(undressed[1], count))
    order = sorted(_MARKS, key=lambda marks: marks[0] != (decimal or "."))
    if is_certain:
        order = [marks for marks in order if marks[0] == decimal]
    counts = {marks: sum(n for body, n in bodies.items() if _pattern(*marks).fullmatch(body)) for marks in order}
    best = max(order, key=lambda marks: counts[marks])  # the first of equals
    if counts[best] < _LEAST_SHARE * sum(texts.values()) or len(set(affixes) - {_BRACKETS}) > 1:
        return None  # amounts in two currencies are not numbers of one unit
    return NumberReading(decimal=best[0], thousands=best[1], affixes=tuple(sorted(affixes)))  # type: ignore[arg-type]


def decimal_evidence(texts: Mapping[str, int]) -> Decimal | None:
    """Return the decimal mark that the cells of a column show; None if both marks, or none, fit them all."""
    undressed = [found[0] for text in texts if (found := _undress(text)) is not None]
    if not undressed:
        return None
    fits = {
        decimal: sum(any(_pattern(decimal, thousands).fullmatch(body) for thousands in marks) for body in undressed)
        for decimal, marks in ((".", ("", ",", " ", "'")), (",", ("", ".", " ", "'")))
    }
    if fits["."] == fits[","]:
        return None
    return "." if fits["."] > fits[","] else ","


def swap_decimal(reading: NumberReading, decimal: Decimal) -> NumberReading:
    """Return the format with another decimal mark; a mark of thousands that would be the same is swapped too."""
    if decimal == reading.decimal:
        return reading
    swapped = {",": ".", ".": ","}.get(reading.thousands, reading.thousands)
    return NumberReading(decimal=decimal, thousands=swapped, affixes=reading.affixes, truth=reading.truth)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def usual_form(reading: NumberReading) -> str:
    """Return a regular expression, also of RE2, for cells that :func:`usual_affix` turns into plain digits and marks.

    All of them are numbers of this format; there are others, with spaces, brackets or a sign elsewhere.
    """
    affix = usual_affix(reading)
    return rf"^[-+]?(?:{affix})?{_number(reading.decimal, reading.thousands)}(?:{affix})?$"


def usual_affix(reading: NumberReading) -> str:
    """Return a regular expression, also of RE2, for the texts around a number, with a space before the last one."""
    affixes = "|".join(re.escape(text) for text in reading.affixes if text != _BRACKETS)
    return rf" ?(?:{affixes})" if affixes else r"\$^"


def is_rounded(text: str) -> bool:
    """Return whether the text is a whole number that float64 cannot represent: its nearest float64 is another one."""
    digits = text.strip().lstrip("+-")
    if len(digits) <= sys.float_info.dig or not digits.isdecimal():
        return False
    digits = digits.lstrip("0")
    return len(digits) > sys.float_info.max_10_exp or int(digits or "0") != int(float(digits or "0"))


def as_python(text: str) -> str:
    """Return a plain number as Python reads it: with - for a minus of print. 1_000, which Python reads, is none."""
    return text.replace("_", "?").replace("\u2212", "-")


def _exact(text: str) -> float:
    if is_rounded(text):
        raise CellError("is a whole number beyond 2^53, which float64 would round")
    return float(text)


def _undress(text: str) -> tuple[str, set[str]] | None:
    """Return the digits and marks of a number, with its sign, and the texts around it; None if it is no number."""
    found = _DRESSED.match(text.translate(_PLAIN_CHARACTERS).strip())
    if found is None or (found["open"] is None) != (found["close"] is None):
        return None
    if found["open"] is not None and found["sign"] is not None:
        return None  # (-300) could be -300 or 300
    body = found["body"].strip()
    if found["sign"] is not None or found["open"] is not None:
        if body[0] in "+-":
            return None
        body = ("-" if found["open"] is not None or found["sign"] == "-" else "") + body
    brackets = _BRACKETS if found["open"] is not None else None
    return body, {text for text in (found["prefix"], found["suffix"], brackets) if text}


@functools.lru_cache(maxsize=16)
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    return re.compile(rf"[-+]?{_number(decimal, thousands)}")


def _number(decimal: str, thousands: str) -> str:
    """Return a regular expression, also of RE2, for a number without a sign."""
    mark, group = re.escape(decimal), re.escape(thousands)
    whole = rf"(?:[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+|[0-9]+)" if thousands else "[0-9]+"
    return rf"(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][-+]?[0-9]+)?"
