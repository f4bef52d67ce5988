"""The bundle on disk: whole or not at all when written, suspicious when read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae import storage
from anomaly_vae.bundle import ARRAYS, _sealed, read_bundle, refuse_output, write_bundle
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.manifest import graph_names
from anomaly_vae.scorer import Scorer, load
from tests.attacks import edit, put, seal

FILES = (*graph_names(1), *ARRAYS)
ALL = (*FILES, "manifest.json", "manifest.sha256")


@pytest.fixture
def copy(model_path, tmp_path):
    """A bundle to damage."""
    return shutil.copytree(model_path, tmp_path / "model")


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
    assert sorted(path.name for path in model_path.iterdir()) == sorted(ALL)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_noticed(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name}: .*sha256 .* expects"):
        load(copy)


@pytest.mark.parametrize("name", ALL)
def test_a_missing_or_cut_file_is_named(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=name):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load(copy)


def flipped_bits(path, bits):
    """The bits of a file whose flip the reader does not notice."""
    unnoticed = []
    with path.open("r+b", buffering=0) as file:
        for bit in bits:
            original = os.pread(file.fileno(), 1, bit // 8)
            os.pwrite(file.fileno(), bytes([original[0] ^ 1 << bit % 8]), bit // 8)
            try:
                read_bundle(path.parent)
                unnoticed.append(bit)
            except BundleError:
                pass
            os.pwrite(file.fileno(), original, bit // 8)
    return unnoticed


@pytest.mark.parametrize("name", ALL)
def test_no_flipped_bit_is_read(copy, name):
    """Each bit of the two files that vouch for the others, and bits all over those."""
    bits = range(8 * (copy / name).stat().st_size)
    assert flipped_bits(copy / name, bits if "manifest" in name else random.Random(name).sample(bits, 200)) == []
    read_bundle(copy)


def test_a_manifest_changed_by_hand_is_refused_with_what_to_do(copy):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"scale": ', '"scale": 1'))
    with pytest.raises(
        BundleError, match=r"model/manifest\.json: its sha256 starts .*says otherwise; .*Copy the folder"
    ):
        load(copy)


def test_sha256sum_finds_the_manifest_in_order(copy):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "manifest.sha256"], cwd=copy, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("manifest.json: OK\n", "", 0)
    assert (copy / "manifest.sha256").read_text()[:64] == read_bundle(copy).digest


@pytest.mark.parametrize("change", [edit, lambda change: edit(lambda m: (change(m), m.pop("members"))[0])])
def test_a_bundle_of_format_3_is_told_apart_from_a_partial_copy(copy, change):
    """It had no manifest.sha256, and perhaps other fields."""
    change(lambda manifest: manifest.update(format_version=3))(copy)
    (copy / "manifest.sha256").unlink()
    with pytest.raises(BundleError, match=r"format version 3, this release reads 4; upgrade anomaly_vae or train the"):
        load(copy)


def add_strays(folder):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\0\0\0\1Bud1")
    (folder / "lost+found").mkdir(mode=0o700)


def test_what_operating_systems_leave_in_folders_is_ignored(copy, bundle, new_rows):
    """By name, whatever it is: nothing of it is opened."""
    expected = load(copy).score(new_rows).log_px
    add_strays(copy)
    (copy / "lost+found" / "#4711").write_bytes(b"")
    assert read_bundle(copy).files == dict(bundle.files)
    (copy / "Thumbs.db").unlink()
    os.mkfifo(copy / "Thumbs.db")
    assert load(copy).score(new_rows).log_px.tobytes() == expected.tobytes()


def test_a_folder_of_a_million_files_is_not_listed_to_the_end(copy, monkeypatch):
    """Whatever else is in it, names to ignore among them."""
    add_strays(copy)
    real, listed = os.scandir, []

    @contextlib.contextmanager
    def scandir(folder):
        with real(folder) as entries:
            endless = (types.SimpleNamespace(name=str(i)) for i in range(10**6))
            yield (listed.append(entry.name) or entry for entry in itertools.chain(entries, endless))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(BundleError, match="is no part of a bundle"):
        load(copy)
    assert len(listed) <= len(ALL) + 5


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
        (lambda m: m.update(format_version=2), "format version 2, this release reads 4"),
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
    edit(change)(copy)
    with pytest.raises(BundleError, match=message):
        load(copy)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format_version": NaN}', '{"format_version": 1e999}', "[" * 100_000]
)
def test_a_manifest_that_is_none_is_refused(copy, text):
    put(text.encode())(copy)
    with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
        load(copy)


def test_a_number_that_is_none_is_refused(copy):
    text = (copy / "manifest.json").read_text()
    threshold = json.loads(text)["calibration"]["threshold"]
    for odd in ("NaN", "Infinity", "1e999", "null"):
        put(text.replace(f'"threshold": {threshold}', f'"threshold": {odd}').encode())(copy)
        with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
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
            seal(name, data)(copy)
            with pytest.raises(BundleError, match=message):
                load(copy)
        seal(name, bundle.files[name])(copy)
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
        seal("golden.npz", buffer.getvalue())(copy)
        with pytest.raises(BundleError, match=r"golden\.npz"):
            load(copy)


def test_a_graph_of_another_model_is_refused(copy, bundle):
    seal("decoder.onnx", bundle.files["encoder.onnx"])(copy)
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


def test_overwrite_replaces_a_bundle_with_stray_files_in_it(bundle, copy, tmp_path):
    add_strays(copy)
    write_bundle(bundle, copy, overwrite=True)
    assert sorted(os.listdir(copy)) == sorted(ALL)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("name", ["lost+found", ".DS_Store"])
def test_overwrite_never_deletes_a_folder_that_holds_something(bundle, copy, name):
    (copy / name).mkdir()
    (copy / name / "#4711").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=rf"'{re.escape(name)}', which is no part of a bundle; --overwrite would"):
        write_bundle(bundle, copy, overwrite=True)
    assert (copy / name / "#4711").read_bytes() == b"precious"


def test_overwrite_never_deletes_a_folder_it_cannot_look_into(bundle, copy, monkeypatch):
    (copy / "lost+found").mkdir()
    real = os.listdir

    def listdir(path):
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(ConfigError, match=r"'lost\+found', which is no part of a bundle"):
        write_bundle(bundle, copy, overwrite=True)


def test_overwrite_says_where_a_mounted_file_system_forbids_it(bundle, copy, tmp_path, monkeypatch):
    """Before a training run where this can be seen, and otherwise when the folder cannot be renamed."""
    monkeypatch.setattr(os.path, "ismount", lambda path: path == copy)
    with pytest.raises(ConfigError, match=r"a file system is mounted there, .*give a folder in it, such as .*/model"):
        refuse_output(copy, overwrite=True)
    monkeypatch.undo()

    def busy(self, target):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(type(copy), "rename", busy)
    with pytest.raises(ConfigError, match="a file system is mounted there"):
        write_bundle(bundle, copy, overwrite=True)
    monkeypatch.undo()
    load(copy)
    assert os.listdir(tmp_path) == ["model"]


def test_overwrite_replaces_a_bundle_of_other_files(bundle, mixture, copy):
    """A mixture has more of them: what may be replaced does not depend on what is written."""
    write_bundle(mixture.bundle, copy, overwrite=True)
    assert "encoder-2.onnx" in os.listdir(copy)
    write_bundle(bundle, copy, overwrite=True)
    assert sorted(os.listdir(copy)) == sorted(ALL)


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
