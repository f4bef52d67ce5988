"""Elements of SVG as escaped text: all that a chart needs of the format."""

from __future__ import annotations

from markupsafe import Markup, escape

from anomaly_vae.pages.texts import clean, short

__all__ = ["HEIGHT", "WIDTH", "chart", "label", "tag"]

# Size of a chart in units of its own; a page stretches it. Chosen, not measured: at the width of a phone a unit is a
# pixel, so that letters stay legible.
WIDTH, HEIGHT = 400, 250

# Letters of a label inside a chart. Chosen, not measured.
_LETTERS = 60


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; its texts and attributes are escaped unless they are Markup.

    Args:
        name: Such as ``rect``.
        children: Texts and elements inside it.
        attributes: By name, ``_`` for ``-`` and ``class_`` for ``class``; those that are None are left out. Numbers are
            places in a chart and get one decimal.
    """
    shown = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None]
    opening = Markup().join(Markup(' {}="{}"').format(key, _value(value)) for key, value in shown)
    inside = Markup().join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), opening, inside)  # noqa: S704 (names are our own)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return clean(str(value))


def label(text: str, x: float, y: float, class_: str = "", **attributes: object) -> Markup:
    """Return a text at a place; a long one is cut, and its whole text appears when the pointer rests on it."""
    shown = short(text, _LETTERS)
    parts = [shown] if shown == text else [shown, tag("title", text)]
    return tag("text", *parts, x=float(x), y=float(y), class_=class_ or None, **attributes)


def chart(
    title: str,
    *parts: str,
    width: float = WIDTH,
    height: float = HEIGHT,
    class_: str = "",
    is_fixed: bool = False,
) -> Markup:
    """Return a picture whose title is read aloud and appears when the pointer rests on it.

    Args:
        title: What it shows.
        parts: Its elements.
        width, height: In units of its own.
        class_: A further class.
        is_fixed: Whether a unit is a pixel; otherwise the picture is as wide as there is room.
    """
    return tag(
        "svg",
        tag("title", title),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:.0f}" if is_fixed else None,
        role="img",
        class_=f"chart {class_}".strip(),
    )
