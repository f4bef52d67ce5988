"""Templates to pages. Everything that a template shows is escaped, and hostile characters are replaced."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from anomaly_vae.pages.texts import clean, counted, number, share, short

__all__ = ["render"]

_FOLDER = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Return a page of HTML.

    Args:
        template: Its file, such as ``profile.html``.
        values: What the template shows. Texts are escaped; only Markup, such as a chart, is taken as it is.

    Raises:
        jinja2.UndefinedError: The template shows a value that is not given.
    """
    return _environment().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "share": share, "short": short}
    environment.globals |= {"counted": counted}
    return environment


def _finalized(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
