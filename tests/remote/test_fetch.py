"""One bundle from remote storage into memory, checked as a folder of the same files would be."""

from __future__ import annotations

import hashlib
import json

import pytest

from anomaly_vae.bundle.contents import checksum_of
from anomaly_vae.bundle.files import read_files
from anomaly_vae.errors import BundleError
from anomaly_vae.remote.fetch import check_sealed, entry_of, fetch_bundle, fetch_sealed, is_entry, joined, place_of
from anomaly_vae.remote.keys import read_public_key
from anomaly_vae.remote.signing import sign
from tests.support.remote_stores import MemoryStore


@pytest.fixture
def store(model_path):
    store = MemoryStore()
    store.put("fraud/4", model_path)
    return store


def fetched(store, **options):
    return fetch_bundle(store, "fraud/4", fetch_sealed(store, "fraud/4"), **options)


def test_what_is_fetched_is_what_a_folder_of_these_files_holds(store, model_path):
    files = fetched(store)
    assert files == read_files(model_path)
    assert sorted(store.reads) == sorted([*store.data, "fraud/4/model.sig"])  # each once


def test_progress_is_told_in_bytes(store):
    told = []
    files = fetched(store, on_bytes=lambda done, total: told.append((done, total)))
    total = sum(record.size for record in files.manifest.files.values())
    assert {each[1] for each in told} == {total}
    assert sum(each[0] for each in told) == total


@pytest.mark.parametrize("name", ["encoder.onnx", "noise.npy", "golden.npy"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data + b"x", lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: b""],
    ids=["truncated", "longer", "a changed bit", "empty"],
)
def test_a_damaged_file_is_refused_and_named(store, name, damage):
    store.data[f"fraud/4/{name}"] = damage(store.data[f"fraud/4/{name}"])
    with pytest.raises(BundleError, match=name):
        fetched(store)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "encoder.onnx"])
def test_a_missing_file_is_refused_and_named(store, name):
    del store.data[f"fraud/4/{name}"]
    with pytest.raises(BundleError, match=name):
        fetched(store)


def test_a_manifest_that_is_too_large_is_not_read(store):
    store.data["fraud/4/manifest.json"] = bytes(64 * 2**20 + 1)
    with pytest.raises(BundleError, match="over 67108864 bytes"):
        fetched(store)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "other.onnx"])
def test_a_hostile_manifest_makes_nobody_ask_for_other_files(store, name):
    fields = json.loads(store.data["fraud/4/manifest.json"])
    fields["files"][name] = fields["files"].pop("noise.npy")
    store.data["fraud/4/manifest.json"] = json.dumps(fields).encode()
    store.data["fraud/4/manifest.sha256"] = checksum_of(store.data["fraud/4/manifest.json"])
    with pytest.raises(BundleError, match=r"s3://bucket/models/fraud/4/manifest\.json: files must list exactly"):
        fetched(store)
    assert {path.rpartition("/")[2] for path in store.reads} == {"manifest.json", "model.sig", "manifest.sha256"}


def test_a_bundle_that_is_replaced_during_the_download_is_refused(store, other_path):
    """The manifest was that of the old bundle; the checksum is that of the new one."""
    store.before_read = lambda path: store.put("fraud/4", other_path) if path.endswith("sha256") else None
    with pytest.raises(BundleError, match=r"manifest\.sha256 has another"):
        fetched(store)


def test_the_name_of_an_entry_tells_bytes_apart(store, model_path):
    digest = hashlib.sha256(store.data["fraud/4/manifest.json"]).hexdigest()
    bare = fetch_sealed(store, "fraud/4")
    assert (bare.entry, bare.digest) == (digest, digest)
    assert entry_of(fetched(store)) == digest
    store.data["fraud/4/model.sig"] = b"1"
    one = fetch_sealed(store, "fraud/4")
    assert entry_of(fetched(store)) == one.entry
    store.data["fraud/4/model.sig"] = b"2"
    assert len({bare.entry, one.entry, fetch_sealed(store, "fraud/4").entry}) == 3
    assert fetch_sealed(store, "fraud/4", signed=False) == bare
    assert is_entry(bare.entry)
    assert is_entry(one.entry)
    assert not any(map(is_entry, ("", "..", digest[1:], f"{digest}-", f"{digest}/..", digest.upper(), digest + "\n")))


def test_a_bundle_must_be_signed_if_there_is_a_key(store, keys):
    sealed = fetch_sealed(store, "fraud/4")
    check_sealed(sealed, None, "where")
    with pytest.raises(BundleError, match="where: the bundle is not signed"):
        check_sealed(sealed, read_public_key(keys[1]), "where")


def test_a_signature_of_another_manifest_is_no_signature_of_this_one(store, copy, keys):
    sign(copy, keys[0])
    store.put("fraud/4", copy)
    key = read_public_key(keys[1])
    check_sealed(fetch_sealed(store, "fraud/4"), key, "where")
    store.data["fraud/4/manifest.json"] += b" "
    with pytest.raises(BundleError, match=r"where/manifest\.json: the file was changed after the bundle was signed"):
        check_sealed(fetch_sealed(store, "fraud/4"), key, "where")


def test_paths_of_the_top_folder_have_no_slash():
    assert (joined("", "x"), joined("a/b", "x")) == ("x", "a/b/x")
    store = MemoryStore(url="s3://bucket/models")
    assert (place_of(store, ""), place_of(store, "a/1")) == ("s3://bucket/models", "s3://bucket/models/a/1")
