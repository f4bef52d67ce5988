"""What every store does alike: one in memory, which other tests use, and one of each kind."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import AnomalyVaeError, BundleError
from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.store import NotThere
from anomaly_vae.remote.stores import open_store
from tests.support.remote_stores import MemoryStore


@pytest.fixture(params=["memory", "s3"])
def store(request):
    if request.param == "memory":
        return MemoryStore()
    return open_store(parse_address(f"s3://{request.getfixturevalue('bucket')}/models"))


def test_a_store_lists_reads_writes_and_deletes(store):
    assert store.files() == []
    store.write("fraud/4/manifest.json", b"new")
    store.write("fraud/4/a.onnx", b"12345678")
    store.write("fraud/4/a.onnx", b"1234567")
    assert sorted(each[:2] for each in store.files()) == [("fraud/4/a.onnx", 7), ("fraud/4/manifest.json", 3)]
    assert all(each.changed > 0 for each in store.files())
    assert store.read("fraud/4/a.onnx", 7) == b"1234567"
    with pytest.raises(BundleError, match="over 6 bytes"):
        store.read("fraud/4/a.onnx", 6)
    store.delete("fraud/4/a.onnx")
    store.delete("fraud/4/a.onnx")
    for path in ("fraud/4/a.onnx", "other/manifest.json"):
        with pytest.raises(NotThere, match=path):
            store.read(path, 7)
    assert [each.path for each in store.files()] == ["fraud/4/manifest.json"]


def test_not_there_is_an_error_of_the_package():
    assert issubclass(NotThere, AnomalyVaeError)
    assert NotThere.exit_code == 1
