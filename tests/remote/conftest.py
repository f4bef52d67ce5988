"""Fixtures for tests of remote storage."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from anomaly_vae.bundle.files import Bundle, write_bundle
from anomaly_vae.remote.keys import make_keys
from tests.support.remote_stores import files_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test looks into the user's cache."""
    monkeypatch.setenv("ANOMALY_VAE_CACHE_DIR", str(tmp_path / "default-cache"))


@pytest.fixture
def copy(model_path, tmp_path):
    return shutil.copytree(model_path, tmp_path / "model")


@pytest.fixture(scope="session")
def other_path(bundle, tmp_path_factory):
    """The same model with another manifest, and so with another digest."""
    other = msgspec.structs.replace(bundle.manifest, created_at="2001-01-01T00:00:00+00:00")
    path = tmp_path_factory.mktemp("other") / "model"
    write_bundle(Bundle(**(vars(bundle) | {"manifest": other})), path)
    return path


@pytest.fixture
def files(model_path):
    return files_of(model_path)


@pytest.fixture
def keys(tmp_path):
    """Paths of a private key and its public key."""
    private, public = tmp_path / "release.pem", tmp_path / "release.pub.pem"
    make_keys(private, public)
    return private, public
