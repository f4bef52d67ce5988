"""Bundles to and from remote storage, or another folder of this machine."""

from __future__ import annotations

import pytest

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import BundleError, ConfigError, RemoteError
from anomaly_vae.remote import transfer
from anomaly_vae.remote.signing import sign
from anomaly_vae.remote.transfer import pull, push
from tests.support.remote_stores import MemoryStore, files_of

URL = "s3://bucket/models/fraud/4"


class Recorder(MemoryStore):
    """A store that notes writes and deletions in order."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.done = []

    def write(self, path, data):
        self.done.append(path)
        super().write(path, data)

    def delete(self, path):
        self.done.append(f"-{path}")
        super().delete(path)


@pytest.fixture
def store(monkeypatch):
    store = Recorder(url=URL)
    monkeypatch.setattr(transfer, "open_store", lambda address: store)
    return store


def test_a_pushed_bundle_can_be_pulled_from_a_bucket(bucket, model_path, tmp_path, files):
    url = f"s3://{bucket}/models/fraud/4"
    told = []
    pushed = push(model_path, url, on_bytes=lambda done, total: told.append((done, total)))
    assert (pushed.digest, pushed.was_there) == (read_bundle(model_path).digest, False)
    assert sum(done for done, _ in told) == pushed.num_bytes == told[0][1] == sum(map(len, files.values()))
    assert push(model_path, url).was_there
    told.clear()
    assert pull(url, tmp_path / "pulled", on_bytes=lambda *each: told.append(each)).digest == pushed.digest
    assert files_of(tmp_path / "pulled") == files
    assert told
    assert pull(f"s3://{bucket}/models", tmp_path / "the only one").digest == pushed.digest


def test_the_manifest_is_written_last(store, model_path, files):
    """A bundle is there when its manifest is, so that no reader takes a part for the whole."""
    push(model_path, URL)
    assert store.done[-1] == "manifest.json"
    assert sorted(store.done) == sorted(files)
    assert store.data == files


def test_an_interrupted_push_leaves_no_bundle_and_can_be_repeated(store, model_path, files, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "write", lambda path, data: interrupted(store, path, data))
    with pytest.raises(RemoteError, match="cut"):
        push(model_path, URL)
    with pytest.raises(BundleError, match="no model bundle there"):
        pull(URL, tmp_path / "pulled")
    monkeypatch.undo()
    monkeypatch.setattr(transfer, "open_store", lambda address: store)
    assert not push(model_path, URL).was_there
    assert store.data == files


def interrupted(store, path, data):
    if len(store.data) == 3:
        raise RemoteError("cut")
    store.data[path] = data


def test_the_same_bundle_is_not_written_twice_and_another_one_only_by_request(store, model_path, other_path):
    push(model_path, URL)
    store.done.clear()
    assert push(model_path, URL).was_there
    assert store.done == []
    with pytest.raises(ConfigError, match=rf"{URL}: another bundle is there, with the digest .* new version, or pass"):
        push(other_path, URL)
    assert store.done == []
    store.data["encoder-2.onnx"] = store.data["model.sig"] = b"of the old bundle"
    push(other_path, URL, overwrite=True)
    assert store.data == files_of(other_path)
    assert store.done.index("manifest.json") < store.done.index("-encoder-2.onnx")


def test_a_folder_of_models_is_not_made_a_bundle(store, model_path):
    """It would hide every model below."""
    store.data["4/manifest.json"] = b""
    with pytest.raises(ConfigError, match=rf"{URL} holds '4/manifest\.json', which is not part of a bundle"):
        push(model_path, URL, overwrite=True)
    assert store.done == []


def test_a_damaged_bundle_is_not_pushed(store, copy):
    (copy / "encoder.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"encoder\.onnx"):
        push(copy, URL)
    assert store.done == []


def test_a_signature_follows_its_bundle(store, copy, model_path, keys):
    push(model_path, URL)
    store.done.clear()
    sign(copy, keys[0])
    for expected in (["model.sig"], ["model.sig"], ["model.sig"]):
        assert push(copy, URL).was_there
        assert store.done == expected
    assert store.data["model.sig"] == (copy / "model.sig").read_bytes()
    assert push(model_path, URL).was_there  # unsigned: the signature there stays
    assert "model.sig" in store.data


def test_nothing_is_pushed_to_a_web_server(model_path):
    with pytest.raises(ConfigError, match=r"https://127\.0\.0\.1:1/m: nothing can be written to https://"):
        push(model_path, "https://127.0.0.1:1/m")


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_bundle_is_pushed_to_a_folder_of_models(model_path, other_path, tmp_path, files, prefix):
    target = tmp_path / "models" / "fraud" / "4"
    assert not push(model_path, f"{prefix}{target}").was_there
    assert files_of(target) == files
    assert push(model_path, f"{prefix}{target}").was_there
    with pytest.raises(ConfigError, match="another bundle is there"):
        push(other_path, f"{prefix}{target}")
    push(other_path, f"{prefix}{target}", overwrite=True)
    assert files_of(target) == files_of(other_path)
    assert [path.name for path in target.parent.iterdir()] == ["4"]
    (target / "notes.txt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"holds 'notes\.txt'|exists already"):
        push(model_path, str(target), overwrite=True)


def test_a_signature_is_pushed_to_a_folder_that_has_its_bundle(model_path, copy, tmp_path, keys):
    target = tmp_path / "models" / "4"
    push(model_path, str(target))
    sign(copy, keys[0])
    assert push(copy, str(target)).was_there
    assert files_of(target) == files_of(copy)


def test_a_bundle_is_pulled_from_a_folder(model_path, tmp_path, files):
    for number, url in enumerate((str(model_path), f"file://{model_path}")):
        pull(url, tmp_path / str(number))
        assert files_of(tmp_path / str(number)) == files


@pytest.mark.parametrize("url", [URL, None], ids=["a bucket", "a folder"])
def test_a_pulled_bundle_is_checked_before_it_appears(store, copy, keys, tmp_path, url):
    sign(copy, keys[0])
    store.put("", copy)
    url = url or str(copy)
    pull(url, tmp_path / "good", verify_key=keys[1])
    assert files_of(tmp_path / "good") == files_of(copy)
    for name in ("manifest.sha256", "encoder.onnx", "model.sig"):
        store.put("", copy)
        saved = (copy / name).read_bytes()
        store.data[name] = saved[:-9]
        (copy / name).write_bytes(saved[:-9])
        with pytest.raises(BundleError, match=name.replace("manifest.sha256", "manifest")):
            pull(url, tmp_path / "bad", verify_key=keys[1])
        (copy / name).write_bytes(saved)
    assert not (tmp_path / "bad").exists()


def test_an_unsigned_bundle_is_not_pulled_with_a_key(store, model_path, keys, tmp_path):
    store.put("", model_path)
    with pytest.raises(BundleError, match=rf"{URL}: the bundle is not signed"):
        pull(URL, tmp_path / "pulled", verify_key=keys[1])
    assert store.reads == ["manifest.json", "model.sig"]


def test_an_existing_folder_is_refused_before_anything_is_fetched(store, model_path, tmp_path):
    store.put("", model_path)
    (tmp_path / "pulled").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        pull(URL, tmp_path / "pulled")
    assert store.reads == []
    pull(URL, tmp_path / "pulled", overwrite=True)
    (tmp_path / "pulled" / "mine").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds 'mine'"):
        pull(URL, tmp_path / "pulled", overwrite=True)
