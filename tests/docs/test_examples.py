"""Every example of the documentation runs as it stands there."""

import pytest

from tests.support.documents import PAGES, REASONS, ROOT, blocks_of, name_of
from tests.support.examples import Examples

LANGUAGES = {"python", "sh", "toml", "json", "text"}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of rows scored without flags, which a page shows
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index:DeprecationWarning")  # Dask uses it
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_examples_run(page, model_path, tmp_path, monkeypatch):
    """One test a page: examples build on those before them, which another worker would not have run."""
    monkeypatch.chdir(tmp_path)
    examples = Examples(page, tmp_path, model_path)
    examples.run()
    assert examples.done == len(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_example_has_a_language_that_the_tests_run(page):
    assert {block.language for block in blocks_of(page)} <= LANGUAGES


def test_examples_are_left_out_for_listed_reasons_only():
    """And every listed reason is in use."""
    found = {block.comment[1] for page in PAGES for block in blocks_of(page) if block.comment[0] == "not run"}
    assert found == set(REASONS)


def test_all_pages_are_seen():
    assert {"README.md", "docs/guide.md", "docs/serving.md", ".github/CONTRIBUTING.md"} <= {*map(name_of, PAGES)}
    assert not [path for path in ROOT.glob("docs/**/*.md") if path not in PAGES]
