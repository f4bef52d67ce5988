"""The folder of fetched bundles, which several processes share."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from anomaly_vae.bundle.files import read_bundle, read_files
from anomaly_vae.errors import ConfigError, RemoteError
from anomaly_vae.remote import cache as caches
from anomaly_vae.remote.cache import Cache, default_cache_dir

KEY = ("fraud", "4")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cache(folder):
    return Cache(folder)


def added(cache, path):
    """Add a bundle, and return its entry."""
    files = read_files(path)
    with cache.locked():
        cache.add(files)
    return files.digest


def entries(cache):
    return {path.name for path in (cache.folder / "sha256").iterdir()}


def swept(cache):
    with cache.locked():
        cache.sweep()
    return entries(cache)


def test_an_added_bundle_can_be_loaded(cache, model_path, bundle):
    entry = added(cache, model_path)
    assert cache.has(entry)
    assert not cache.has("0" * 64)
    assert read_bundle(cache.path(entry)).files == dict(bundle.files)
    assert (cache.path(entry).stat().st_mode & 0o022) == 0


@pytest.mark.parametrize("name", ["encoder.onnx", "manifest.json"])
def test_a_damaged_entry_is_removed_when_a_process_first_asks_for_it(cache, folder, model_path, name):
    """A machine that lost its power may have lost bytes; fetching again heals it."""
    entry = added(cache, model_path)
    path = cache.path(entry) / name
    path.write_bytes(path.read_bytes()[:-1])
    assert not Cache(folder).has(entry)
    assert entries(cache) == set()


def test_an_entry_with_another_bundle_than_its_name_says_is_removed(cache, folder, model_path, other_path):
    entry, other = added(cache, model_path), added(cache, other_path)
    cache.path(entry).rename(folder / "aside")
    cache.path(other).rename(cache.path(entry))
    assert not Cache(folder).has(entry)


def test_entries_of_no_url_are_swept_unless_a_process_has_leased_them(cache, folder, model_path, other_path):
    entry, other = added(cache, model_path), added(cache, other_path)
    with cache.locked():
        cache.write_view("s3://a", {KEY: entry})
        cache.lease([other])
    reader = Cache(folder)  # a lease belongs to an open file, so this is like another process
    assert swept(reader) == {entry, other}
    cache.lease([])
    assert swept(reader) == {entry}
    assert [*(folder / "leases").iterdir()] == []
    cache.write_view("s3://a", {})
    assert swept(reader) == set()


def test_a_lease_ends_with_its_process(cache, folder, model_path):
    """Also with one that is killed."""
    entry = added(cache, model_path)
    code = (
        "import sys, pathlib; from anomaly_vae.remote.cache import Cache; cache = Cache(pathlib.Path(sys.argv[1])); "
        "cache.lease([sys.argv[2]]); print(flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, folder, entry], **pipes) as process:
        process.stdout.readline()
        assert swept(cache) == {entry}
        process.kill()
        process.wait()
    assert swept(cache) == set()


def test_what_a_killed_process_left_is_swept(cache):
    (cache.folder / "sha256" / f".{'0' * 50}.1234abcd.part").mkdir()
    assert swept(cache) == set()


def test_a_view_is_remembered_for_its_url(cache, folder):
    entry = "0" * 64
    assert cache.view("s3://a") == {}
    cache.write_view("s3://a", {KEY: entry})
    assert Cache(folder).view("s3://a") == {KEY: entry}
    assert cache.view("s3://b") == {}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"url": "a", "bundles": [["a", "1", "../../etc"]]}', b"\xff", b"[" * 9999]
)
def test_a_damaged_view_is_no_view(cache, data):
    cache.write_view("s3://a", {KEY: "0" * 64})
    (path,) = (cache.folder / "views").iterdir()
    path.write_bytes(data)
    assert cache.view("s3://a") == {}
    assert swept(cache) == set()


def test_a_url_that_nobody_looks_at_is_forgotten(cache, model_path):
    entry = added(cache, model_path)
    for url in ("s3://old", "s3://used"):
        cache.write_view(url, {KEY: entry})
    long_ago = time.time() - 91 * 86_400
    for path in (cache.folder / "views").iterdir():
        os.utime(path, (long_ago, long_ago))
    cache.touch_view("s3://used")
    assert swept(cache) == {entry}
    assert (cache.view("s3://old"), cache.view("s3://used")) == ({}, {KEY: entry})


def test_the_oldest_bundle_makes_room_but_none_that_is_in_use(folder, model_path, other_path):
    size = sum(path.stat().st_size for path in model_path.iterdir())
    cache = Cache(folder, max_bytes=size + size // 2)
    entry, other = added(cache, model_path), added(cache, other_path)
    assert entries(cache) == {other}
    assert not cache.has(entry)
    cache.lease([other])
    with pytest.raises(RemoteError, match=rf"no room for a bundle of \d+ bytes; .* at most {size + size // 2}"):
        added(cache, model_path)
    assert entries(cache) == {other}


def test_one_process_at_a_time_changes_the_cache(cache, folder, monkeypatch):
    monkeypatch.setattr(caches, "_LOCK_S", 0.05)
    with (
        cache.locked(),
        pytest.raises(RemoteError, match="another process has locked the cache"),
        Cache(folder).locked(),
    ):
        pass
    with Cache(folder).locked():
        pass


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file: the cache of fetched bundles cannot be made: .*VAE_CACHE_DIR"):
        Cache(tmp_path / "file")


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("ANOMALY_VAE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "anomaly-vae"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(default_cache_dir()) == "/elsewhere/anomaly-vae"
    monkeypatch.setenv("ANOMALY_VAE_CACHE_DIR", "/given")
    assert str(default_cache_dir()) == "/given"
