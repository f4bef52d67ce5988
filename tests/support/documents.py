"""The pages of the documentation: where they are, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")])

# Why an example does not run in the tests. The comment before it: <!-- not run: REASON -->
REASONS = {
    "needs a package registry": "pip and pre-commit download packages",
    "needs docker": "builds an image",
    "needs a cluster": "of Kubernetes: tests/system/test_kubernetes.py runs the container's command; or of Spark",
    "needs systemd": "tests/system/test_systemd.py checks the unit",
    "needs grpcurl": "is no Python package",
    "needs Spark": "make spark runs tests/docs/test_spark.py in its own environment",
    "needs tritonclient": "tests/system/test_tritonclient.py runs it in its own environment",
    "needs torchrun": "tests/cli/test_processes.py runs it by the name of its module",
    "needs a web server": "tests/remote/test_opening.py and test_web.py have one",
    "takes minutes": "targets of make; .ci/run runs make check and make test",
}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- (not run|file): ([^\n]*?) -->\n$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    """An example.

    Attributes:
        language: After the fence; empty where there is none.
        source: Its lines.
        comment: ("not run", reason), ("file", name) or ("", ""): the comment in the line before it.
    """

    language: str
    source: str
    comment: tuple[str, str]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def comment_before(text: str, start: int) -> tuple[str, str]:
    """What the line before a position says of the example there."""
    found = COMMENT.search(text[:start])
    return (found[1], found[2]) if found else ("", "")


def blocks_of(page: Path) -> list[Block]:
    """All examples of a page, in order."""
    text = text_of(page)
    return [Block(found[1], found[2], comment_before(text, found.start())) for found in FENCE.finditer(text)]


def prose_of(page: Path) -> str:
    """A page without its examples."""
    return FENCE.sub("", text_of(page))


def inline_code_of(page: Path) -> list[str]:
    """What stands between backticks, outside of examples."""
    return re.findall(r"`([^`\n]+)`", prose_of(page))


def links_of(page: Path) -> list[str]:
    """The targets of all links and pictures."""
    return _LINK.findall(prose_of(page))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(prose_of(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_of(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without the header."""
    section = text_of(page).split(f"# {heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows, f"{name_of(page)}: no table below {heading}"
    lines = rows[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def codes_of(cells: list[str]) -> list[str]:
    """What stands between backticks in some cells."""
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]
