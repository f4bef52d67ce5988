"""Texts of a page: hostile characters are replaced, and numbers are written for people."""

from __future__ import annotations

import math

__all__ = ["clean", "counted", "number", "share", "short"]

# What stands for a character that cannot be shown, and for a number that is not known.
_UNKNOWN, _NONE = "\ufffd", "–"

# Numbers whose size is outside this range are written with a power of ten. Chosen, not measured.
_LEAST, _MOST = 1e-4, 1e9


def clean(text: str) -> str:
    """Return a text without characters that control a terminal, a browser or the direction of writing.

    Line feeds stay. Every other character that Python does not call printable becomes U+FFFD: controls, marks that turn
    the direction of the text around, and halves of surrogate pairs, which UTF-8 cannot hold.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else _UNKNOWN for letter in text)


def short(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters, with three dots in it if some are left out.

    Its end stays: names of columns often differ there.

    Examples:
        >>> short("a long name of column 7", 12)
        'a long n…n 7'
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits and with commas between thousands; a dash if it is not known.

    Examples:
        >>> number(1234567.0), number(0.05), number(None)
        ('1,234,567', '0.05', '–')
    """
    if value is None or math.isnan(value):
        return _NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size and not _LEAST <= size < _MOST:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - (math.floor(math.log10(size)) if size else 0))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(value: float | None, digits: int = 3) -> str:
    """Return a share, 0 to 1, in percent."""
    return _NONE if value is None or math.isnan(value) else f"{number(100.0 * value, digits)} %"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
