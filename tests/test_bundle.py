"""The bundle on disk: whole or not at all when written, suspicious when read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae import storage
from anomaly_vae.bundle import ARRAYS, _sealed, read_bundle, write_bundle
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.manifest import graph_names
from anomaly_vae.scorer import Scorer, load

FILES = (*graph_names(1), *ARRAYS)


@pytest.fixture
def copy(model_path, tmp_path):
    """A bundle to damage."""
    return shutil.copytree(model_path, tmp_path / "model")


def edit_manifest(path, change):
    """Change the manifest as someone with an editor would."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def replace_file(path, name, data):
    """Replace a file and its digest: what an attacker, not an accident, would do."""
    (path / name).write_bytes(data)
    record = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    edit_manifest(path, lambda manifest: manifest["files"].update({name: record}))


def first(manifest):
    """The record of the first modelled column."""
    return manifest["members"][0]["columns"][0]


BENT = {"kind": "yeo-johnson", "power": 1.0, "origin": 0.0, "unit": 1.0, "center": 0.0, "scale": 1.0}


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_what_is_written_is_what_is_read(bundle, model_path):
    again = read_bundle(model_path)
    assert again.manifest == bundle.manifest
    assert again.files == dict(bundle.files)
    assert again.digest == hashlib.sha256((model_path / "manifest.json").read_bytes()).hexdigest()
    assert sorted(path.name for path in model_path.iterdir()) == sorted([*FILES, "manifest.json"])


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_noticed(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name}: .*sha256 .* expects"):
        load(copy)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_or_cut_file_is_named(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=name):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load(copy)


def test_an_unknown_file_is_refused(copy):
    (copy / "code.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"'code\.pkl' is no part of a bundle"):
        load(copy)


def test_links_are_refused(copy, tmp_path):
    """A link would let the bytes change after the check, or point at a file that is none of the model's business."""
    noise = copy / "noise.npy"
    noise.rename(tmp_path / "noise.npy")
    noise.symlink_to(tmp_path / "noise.npy")
    with pytest.raises(BundleError, match=r"noise\.npy: .*link"):
        load(copy)
    noise.unlink()
    os.link(tmp_path / "noise.npy", noise)
    with pytest.raises(BundleError, match=r"noise\.npy: is a link"):
        load(copy)


def test_a_named_pipe_does_not_hang_the_reader(copy):
    (copy / "noise.npy").unlink()
    os.mkfifo(copy / "noise.npy")
    with pytest.raises(BundleError, match="no regular file"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format_version=2), "format version 2, this release reads 3"),
        (lambda m: m.update(pickle="x"), "unknown field `pickle`"),
        (lambda m: m.pop("members"), "missing required field `members`"),
        (lambda m: m.update(members=[]), r"length >= 1.*members"),
        (lambda m: m["members"].append(m["members"][0]), "must list exactly"),
        (lambda m: first(m)["transform"].update(scale=0.0), "a transform cannot be inverted"),
        (lambda m: first(m).update(transform=BENT | {"power": 2.5}), "a transform cannot be inverted"),
        (lambda m: first(m).update(transform=BENT | {"unit": -1.0}), "a transform cannot be inverted"),
        (lambda m: first(m).pop("transform"), "exactly the heads of numbers have a transform"),
        (lambda m: first(m).update(head={"kind": "bernoulli"}), "exactly the heads of numbers have a transform"),
        (lambda m: first(m).update(head={"kind": "categorical", "size": 2}), "exactly the categorical columns have a"),
        (lambda m: m["members"][0]["columns"].pop(), "one entry in columns for each modelled column"),
        (lambda m: m["adjustment"]["parts"].pop(), "adjustment must fit"),
        (lambda m: m["adjustment"]["levels"][0]["masked"].reverse(), "adjustment must fit"),
        (lambda m: m["adjustment"]["levels"].reverse(), "adjustment must fit"),
        (lambda m: m["calibration"].update(threshold="low"), "threshold"),
        (lambda m: m["calibration"].update(rank=10**6), "rank must be at most"),
        (lambda m: m["calibration"].update(num_rows=5), "rank must be at most"),
        (lambda m: m["calibration"].update(num_novel=1), "the manifest says 119"),
        (lambda m: m["calibration"].update(effective_fpr=0.001), "effective_fpr must be rank"),
        (lambda m: m["calibration"].update(threshold=1e300), "not the score of rank 6"),
        (lambda m: first(m)["head"].update(log_var=1e6), "log_var"),
        (lambda m: m["schema"]["columns"][0].update(name="\x1b]0;pwn\x07"), "printable"),
        (lambda m: m["estimator"].update(num_samples=48), "scramblings times members times a power of two"),
        (lambda m: m["estimator"].update(num_samples=1000), "multiple of 16"),
        (lambda m: m["estimator"].update(num_samples=2**14), "noise.npy: holds 4096 points"),
        (lambda m: m["schema"]["columns"][0].update(kind="picture"), "Invalid enum value"),
        (lambda m: m["schema"]["columns"][0].update(kind="categorical"), "exactly the categorical columns have"),
        (lambda m: m["schema"]["columns"][0].update(categories=["a", "b"]), "exactly the categorical columns have"),
        (lambda m: m["schema"]["columns"][0].update(name="flow"), "unique names"),
        (lambda m: m["schema"]["columns"][0].update(value=1.0), "exactly the constant columns"),
        (lambda m: m["schema"].update(kind="window"), "Invalid enum value"),
        (lambda m: m["members"][0]["architecture"].update(latent_dim=3), r"noise\.npy: has shape"),
        (lambda m: m["files"].update({"../evil": m["files"]["noise.npy"]}), "must list exactly"),
        (lambda m: m["files"].pop("noise.npy"), "must list exactly"),
        (lambda m: m["files"]["noise.npy"].update(sha256="0"), "sha256"),
        (lambda m: m["files"]["noise.npy"].update(size=10), "expected at most 10"),
        (lambda m: m["files"]["noise.npy"].update(size=-1), "size"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, change, message):
    edit_manifest(copy, change)
    with pytest.raises(BundleError, match=message):
        load(copy)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format_version": NaN}', '{"format_version": 1e999}', "[" * 100_000]
)
def test_a_manifest_that_is_none_is_refused(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="manifest"):
        load(copy)


def test_a_number_that_is_none_is_refused(copy):
    text = (copy / "manifest.json").read_text()
    threshold = json.loads(text)["calibration"]["threshold"]
    for odd in ("NaN", "Infinity", "1e999", "null"):
        (copy / "manifest.json").write_text(text.replace(f'"threshold": {threshold}', f'"threshold": {odd}'))
        with pytest.raises(BundleError, match="manifest"):
            load(copy)


def test_arrays_that_do_not_fit_are_refused(copy, bundle):
    huge = npy(bundle.noise).replace(b"(16, 256, 2), }" + b" " * 9, b"(16, 256000000000, 2), }")
    cases = {
        "noise.npy": [
            (npy(bundle.noise.astype(np.float64)), "<f8 array of shape .*expected <f4 with 3"),
            (npy(bundle.noise[:8]), "has shape"),
            (npy(bundle.noise[:, :100]), "power of two"),
            (npy(np.asfortranarray(bundle.noise)), "C order"),
            (npy(np.where(bundle.noise > 3, np.inf, bundle.noise).astype(np.float32)), "NaN or an infinity"),
            (npy(np.array([{}], dtype=object), allow_pickle=True), "not a .npy array of numbers"),
            (b"not an array", "not a .npy"),
            (huge, r"shape \(16, 256000000000, 2\) needs another size"),
            (npy(bundle.noise)[:-4], "needs another size"),
        ],
        "calibration.npy": [
            (npy(bundle.calibration[::-1].copy()), "not sorted"),
            (npy(bundle.calibration[:-1]), "the manifest says"),
            (npy(np.full_like(bundle.calibration, np.nan)), "NaN"),
        ],
        "golden.npz": [(b"PK", "not a .npz"), (bundle.files["golden.npz"][:-30], "not a .npz")],
    }
    for name, damages in cases.items():
        for data, message in damages:
            replace_file(copy, name, data)
            with pytest.raises(BundleError, match=message):
                load(copy)
        replace_file(copy, name, bundle.files[name])
    load(copy)


def test_archives_with_surprises_are_refused(copy, bundle):
    """Compressed members could be bombs; other members have no business here."""
    for compression, names in (
        (zipfile.ZIP_DEFLATED, ["rows", "log_px"]),
        (zipfile.ZIP_STORED, ["rows", "log_px", "x"]),
    ):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name in names:
                archive.writestr(f"{name}.npy", npy(bundle.golden_rows if name == "rows" else bundle.golden_log_px))
        replace_file(copy, "golden.npz", buffer.getvalue())
        with pytest.raises(BundleError, match=r"golden\.npz"):
            load(copy)


def test_a_graph_of_another_model_is_refused(copy, bundle):
    replace_file(copy, "decoder.onnx", bundle.files["encoder.onnx"])
    with pytest.raises(BundleError, match=r"decoder\.onnx: has inputs or outputs"):
        load(copy)


def test_random_damage_with_right_digests_is_refused_or_harmless(bundle):
    """Whatever the bytes say, the reader answers with BundleError or a working scorer, never with another error."""

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(FILES), st.integers(0, 2**32), st.binary(min_size=1, max_size=8))
    def damage(name, where, what):
        data = bytearray(bundle.files[name])
        start = where % len(data)
        data[start : start + len(what)] = what
        with contextlib.suppress(BundleError):
            Scorer(_sealed(bundle.manifest, dict(bundle.files) | {name: bytes(data)}), threads=1)

    damage()


def test_a_missing_folder_and_a_file_are_explained(tmp_path):
    with pytest.raises(BundleError, match="no model bundle there"):
        load(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"manifest\.json is missing; is this the directory"):
        load(tmp_path)


def test_an_existing_output_is_kept_unless_told(bundle, copy, tmp_path):
    with pytest.raises(ConfigError, match="exists already"):
        write_bundle(bundle, copy)
    write_bundle(bundle, copy, overwrite=True)
    load(copy)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_overwrite_never_deletes_what_is_no_bundle(bundle, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"'holiday\.jpg', which is no part of a bundle"):
        write_bundle(bundle, photos, overwrite=True)
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(ConfigError, match="not a directory"):
        write_bundle(bundle, tmp_path / "link", overwrite=True)
    assert (photos / "holiday.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize("moment", ["_sync", "_replace_directory"])
def test_a_failure_while_writing_leaves_the_old_bundle(bundle, copy, tmp_path, monkeypatch, moment):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, moment, fail)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(bundle, copy, overwrite=True)
    monkeypatch.undo()
    load(copy)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_old_bundle_comes_back_when_the_last_rename_fails(bundle, copy, tmp_path, monkeypatch):
    rename = type(copy).rename
    calls = []

    def second_fails(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(type(copy), "rename", second_fails)
    with pytest.raises(OSError, match="Input/output"):
        write_bundle(bundle, copy, overwrite=True)
    monkeypatch.undo()
    load(copy)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
