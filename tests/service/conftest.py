"""A real service for the tests of a module."""

import pytest

from tests.service.running import running


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path) as service:
        yield service


@pytest.fixture
def channel(service):
    with service.channel() as channel:
        yield channel
