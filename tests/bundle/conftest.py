"""Fixtures for tests of bundles."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def copy(model_path, tmp_path):
    """Return a copy of a bundle, to damage it."""
    return shutil.copytree(model_path, tmp_path / "model")
