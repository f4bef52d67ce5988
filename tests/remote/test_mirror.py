"""The bundles below a URL in the local cache, brought up to date by every scan."""

from __future__ import annotations

import json

import pytest

from anomaly_vae.bundle.contents import checksum_of
from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import AnomalyVaeWarning, BundleError, RemoteError
from anomaly_vae.remote.cache import Cache
from anomaly_vae.remote.mirror import Mirror
from anomaly_vae.remote.signing import sign
from tests.support.remote_stores import OLD, MemoryStore

FOUR, FIVE = ("fraud", "4"), ("fraud", "5")


@pytest.fixture
def store(model_path):
    store = MemoryStore()
    store.put("fraud/4", model_path)
    return store


class Times:
    """Two clocks that stand still."""

    def __init__(self):
        self.wall, self.running = OLD / 1e9 + 1e6, 0.0


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def mirror(store, tmp_path, times):
    return new_mirror(store, tmp_path, times)


def new_mirror(store, tmp_path, times, **options):
    """A mirror as another process would make it."""
    cache = Cache(tmp_path / "cache")
    return Mirror(store, cache, wall_clock=lambda: times.wall, clock=lambda: times.running, **options)


def entries(tmp_path):
    return {path.name for path in (tmp_path / "cache" / "sha256").iterdir()}


def digest_of(path):
    return read_bundle(path).digest


def test_bundles_are_copied_and_found_by_name_and_version(mirror, store, model_path, other_path):
    store.put("churn", other_path)
    found = mirror.scan()
    assert {key: digest_of(path) for key, path in found.items()} == {
        FOUR: digest_of(model_path),
        ("churn", "1"): digest_of(other_path),
    }


def test_a_scan_without_a_change_reads_nothing(mirror, store):
    first = mirror.scan()
    store.reads.clear()
    assert mirror.scan() == first
    assert store.reads == []


def test_a_manifest_that_was_changed_just_now_is_read_at_every_scan(mirror, store, times):
    """Storage that tells times in seconds gives two manifests of one second and one size the same time."""
    store.changed["fraud/4/manifest.json"] = round(times.wall * 1e9)
    mirror.scan()
    for seconds, expected in ((1, ["fraud/4/manifest.json"]), (70, ["fraud/4/manifest.json"]), (80, [])):
        times.wall = store.changed["fraud/4/manifest.json"] / 1e9 + seconds
        store.reads.clear()
        mirror.scan()
        assert store.reads == expected


def test_a_changed_bundle_gets_another_folder_and_a_new_one_is_added(mirror, store, model_path, other_path):
    old = mirror.scan()[FOUR]
    store.put("fraud/4", other_path)
    store.changed["fraud/4/manifest.json"] = OLD + 1
    store.put("fraud/5", model_path)
    new = mirror.scan()
    assert (digest_of(new[FOUR]), new[FIVE]) == (digest_of(other_path), old)


def test_a_removed_bundle_is_kept_for_one_scan_more(mirror, store, other_path, tmp_path):
    """Whoever got its folder from the scan before may be loading it."""
    store.put("fraud/5", other_path)
    before = mirror.scan()
    for path in [path for path in store.data if path.startswith("fraud/5")]:
        del store.data[path]
    assert mirror.scan().keys() == {FOUR}
    assert digest_of(before[FIVE]) == digest_of(other_path)
    assert mirror.scan().keys() == {FOUR}
    assert entries(tmp_path) == {before[FOUR].name}


def test_a_bundle_that_another_process_may_read_is_kept(mirror, store, tmp_path, times):
    other = new_mirror(store, tmp_path, times)
    path = other.scan()[FOUR]
    store.data.clear()
    for _ in range(3):
        assert mirror.scan() == {}
    assert path.is_dir()
    for _ in range(2):
        other.scan()
    assert not path.exists()


def test_processes_fetch_a_bundle_once(mirror, store, tmp_path, times):
    mirror.scan()
    store.reads.clear()
    assert new_mirror(store, tmp_path, times).scan() == mirror.scan()
    assert store.reads == ["fraud/4/manifest.json"]


def test_an_outage_leaves_what_was_found(mirror, store):
    mirror.scan()
    store.fault = "the cable is cut"
    for _ in range(2):
        with pytest.raises(RemoteError, match="the cable is cut"):
            mirror.scan()
    store.fault = None
    assert mirror.scan().keys() == {FOUR}


def test_at_a_start_without_storage_the_cache_is_used_with_a_warning(mirror, store, tmp_path, times):
    expected = mirror.scan()
    store.fault = "the cable is cut"
    restarted = new_mirror(store, tmp_path, times)
    with pytest.warns(AnomalyVaeWarning, match=r"the cable is cut; the cache .* which are used and may be old"):
        assert restarted.scan() == expected
    assert restarted.is_stale
    with pytest.raises(RemoteError):
        restarted.scan()
    store.fault = None
    assert restarted.scan() == expected
    assert not restarted.is_stale


def test_at_a_start_without_storage_damaged_copies_are_not_used(mirror, store, tmp_path, times):
    path = mirror.scan()[FOUR]
    (path / "encoder.onnx").write_bytes(b"")
    store.fault = "the cable is cut"
    with pytest.raises(RemoteError, match="the cable is cut"):
        new_mirror(store, tmp_path, times).scan()


def test_at_a_start_without_storage_and_copies_the_fault_is_raised(mirror, store):
    store.fault = "the cable is cut"
    with pytest.raises(RemoteError, match="the cable is cut"):
        mirror.scan()


def test_a_copy_of_another_url_is_not_used(mirror, tmp_path, times):
    mirror.scan()
    other = MemoryStore(url="s3://bucket/others")
    other.fault = "down"
    with pytest.raises(RemoteError):
        new_mirror(other, tmp_path, times).scan()


def test_a_broken_bundle_is_refused_and_the_others_are_found(mirror, store, model_path):
    store.put("fraud/5", model_path)
    store.data["fraud/5/manifest.json"] += b" "
    assert mirror.scan().keys() == {FOUR}
    assert [*mirror.refused] == [FIVE]
    assert isinstance(mirror.refused[FIVE], BundleError)
    assert "s3://bucket/models/fraud/5/manifest.json" in str(mirror.refused[FIVE])


def test_a_version_that_is_replaced_by_a_broken_one_stays_as_it_was(mirror, store, other_path, tmp_path, times):
    """Also over a restart, and until the upload is complete."""
    old = mirror.scan()
    good = dict(store.data)
    store.put("fraud/4", other_path)
    store.changed["fraud/4/manifest.json"] = OLD + 1
    del store.data["fraud/4/encoder.onnx"]
    for each in (mirror, new_mirror(store, tmp_path, times)):
        assert each.scan() == old
        assert "encoder.onnx: there is no such file" in str(each.refused[FOUR])
    store.data["fraud/4/encoder.onnx"] = good["fraud/4/encoder.onnx"]
    assert digest_of(mirror.scan()[FOUR]) == digest_of(other_path)
    assert mirror.refused == {}


def test_a_broken_bundle_is_not_fetched_at_every_scan(mirror, store, times):
    name = "fraud/4/golden.npy"  # the last one that is read
    store.data[name] = bytes(len(store.data[name]))
    for seconds, again in ((0, True), (10, False), (299, False), (301, True), (400, False)):
        times.running = seconds
        store.reads.clear()
        assert mirror.scan() == {}
        assert (name in store.reads) == again, seconds


def test_an_interrupted_fetch_leaves_nothing(mirror, store, tmp_path):
    store.before_read = lambda path: setattr(store, "fault", "cut") if path.endswith("noise.npy") else None
    with pytest.raises(RemoteError):
        mirror.scan()  # the read after that of noise.npy fails
    assert entries(tmp_path) == set()


def test_a_manifest_may_claim_no_more_than_a_bundle_has(mirror, store):
    fields = json.loads(store.data["fraud/4/manifest.json"])
    fields["files"]["noise.npy"]["size"] = 2**39
    store.data["fraud/4/manifest.json"] = json.dumps(fields).encode()
    store.data["fraud/4/manifest.sha256"] = checksum_of(store.data["fraud/4/manifest.json"])
    assert mirror.scan() == {}
    assert "a bundle has at most" in str(mirror.refused[FOUR])


def test_files_with_hostile_names_are_passed_over(mirror, store, tmp_path):
    before = {*tmp_path.parent.rglob("*")}
    for name in ("../manifest.json", "../../x/manifest.json", "/etc/manifest.json", "fraud/../4/manifest.json"):
        store.data[name] = store.data["fraud/4/manifest.json"]
    assert mirror.scan().keys() == {FOUR}
    assert all(tmp_path / "cache" in (path, *path.parents) for path in {*tmp_path.parent.rglob("*")} - before)


def test_storage_that_lists_nothing_has_one_bundle(model_path, tmp_path, times):
    store = MemoryStore(url="https://host/fraud/4", lists=False)
    store.put("", model_path)
    assert new_mirror(store, tmp_path, times).scan().keys() == {FOUR}


def test_only_one_bundle_may_be_asked_for(store, other_path, tmp_path, times):
    store.put("fraud/5", other_path)
    with pytest.raises(BundleError, match="2 bundles are there; choose one of fraud/4, fraud/5"):
        new_mirror(store, tmp_path, times, only=True).scan()
    assert store.reads == []


def test_with_a_key_only_signed_bundles_are_fetched(store, copy, keys, tmp_path, times):
    sign(copy, keys[0])
    store.put("fraud/5", copy)
    mirror = new_mirror(store, tmp_path, times, verify_key=keys[1])
    found = mirror.scan()
    assert found.keys() == {FIVE}
    assert (found[FIVE] / "model.sig").read_bytes() == (copy / "model.sig").read_bytes()
    assert "s3://bucket/models/fraud/4: the bundle is not signed" in str(mirror.refused[FOUR])
    assert "fraud/4/encoder.onnx" not in store.reads


def test_a_new_signature_makes_another_folder(mirror, store, copy, keys):
    old = mirror.scan()[FOUR]
    sign(copy, keys[0])
    store.data["fraud/4/model.sig"] = (copy / "model.sig").read_bytes()
    new = mirror.scan()[FOUR]
    assert new != old
    assert digest_of(new) == digest_of(old)


def test_a_closed_mirror_keeps_nothing(mirror, store, tmp_path, times):
    mirror.scan()
    mirror.close()
    store.data.clear()
    other = new_mirror(store, tmp_path, times)
    for _ in range(2):
        other.scan()
    assert entries(tmp_path) == set()
