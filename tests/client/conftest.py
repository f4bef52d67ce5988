"""A real service for the tests of a module; calls take at most ten rows, so that few rows make several parts."""

import pytest

from tests.service.running import running


@pytest.fixture(scope="module")
def small_calls(model_path):
    with running(model_path, "--max-rows", 10) as service:
        yield service
