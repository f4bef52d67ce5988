"""A real service for the tests of a module. A call takes 10 rows at most, so that few rows make several parts."""

import pytest

from tests.support.running import running


@pytest.fixture(scope="module")
def small_calls(model_path):
    with running(model_path, "--max-rows", 10) as service:
        yield service
