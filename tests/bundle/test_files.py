"""The bundle on disk: written completely or not at all, and checked when it is read."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import re
import subprocess
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae import storage
from anomaly_vae.bundle.file_arrays import ARRAYS
from anomaly_vae.bundle.files import _with_digests, read_bundle, refuse_output, write_bundle
from anomaly_vae.bundle.manifest import FORMAT_VERSION, graph_names
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.scorer import Scorer, load
from tests.support.attacks import edit, seal

FILES = (*graph_names(1), *ARRAYS)
ALL = (*FILES, "manifest.json", "manifest.sha256")


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
def test_a_missing_or_truncated_file_is_named(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=name):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load(copy)


def flipped_bits(path, bits):
    """Return the bits of a file whose flip the reader does not detect."""
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
def test_every_flipped_bit_is_detected(copy, name):
    """Every bit of the two files that hold the digests, and 200 random bits of each other file."""
    bits = range(8 * (copy / name).stat().st_size)
    assert flipped_bits(copy / name, bits if "manifest" in name else random.Random(name).sample(bits, 200)) == []
    read_bundle(copy)


def test_a_manifest_changed_by_hand_is_refused_with_what_to_do(copy):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"scale": ', '"scale": 1'))
    with pytest.raises(BundleError, match=r"model/manifest\.json: its sha256 starts .*has another; .*Copy the folder"):
        load(copy)


def test_sha256sum_accepts_the_manifest(copy):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "manifest.sha256"], cwd=copy, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("manifest.json: OK\n", "", 0)
    assert (copy / "manifest.sha256").read_text()[:64] == read_bundle(copy).digest


@pytest.mark.parametrize("change", [edit, lambda change: edit(lambda m: (change(m), m.pop("members"))[0])])
def test_a_bundle_of_format_3_is_not_mistaken_for_a_partial_copy(copy, change):
    """Format 3 had no manifest.sha256, and may have other fields."""
    change(lambda manifest: manifest.update(format_version=3))(copy)
    (copy / "manifest.sha256").unlink()
    expected = f"format version 3, this release reads {FORMAT_VERSION}; upgrade anomaly_vae or train the model again"
    with pytest.raises(BundleError, match=expected):
        load(copy)


def test_a_bundle_of_format_4_has_to_be_trained_again(copy):
    """It had three graphs for each model, and an estimator without an error target."""

    def downgrade(manifest):
        manifest.update(format_version=4, estimator={"num_samples": 1024, "scramblings": 16})
        for name in ("posterior.onnx", "likelihood.onnx"):
            del manifest["files"][name]
            (copy / name).unlink()

    edit(downgrade)(copy)
    with pytest.raises(BundleError, match=r"format version 4, this release reads 7; .*train the model again"):
        load(copy)


def add_strays(folder):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\0\0\0\1Bud1")
    (folder / "lost+found").mkdir(mode=0o700)


def test_what_operating_systems_leave_in_folders_is_ignored(copy, bundle, new_rows):
    """They are ignored by their name, whatever they are, and never opened."""
    expected = load(copy).score(new_rows).log_px
    add_strays(copy)
    (copy / "lost+found" / "#4711").write_bytes(b"")
    assert read_bundle(copy).files == dict(bundle.files)
    (copy / "Thumbs.db").unlink()
    os.mkfifo(copy / "Thumbs.db")
    assert load(copy).score(new_rows).log_px.tobytes() == expected.tobytes()


def test_a_folder_of_a_million_files_is_not_listed_to_the_end(copy, monkeypatch):
    """The reader stops after a few names, also if ignored names are among them."""
    add_strays(copy)
    real, listed = os.scandir, []

    @contextlib.contextmanager
    def scandir(folder):
        with real(folder) as entries:
            endless = (types.SimpleNamespace(name=str(i)) for i in range(10**6))
            yield (listed.append(entry.name) or entry for entry in itertools.chain(entries, endless))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(BundleError, match="is not part of a bundle"):
        load(copy)
    assert len(listed) <= len(ALL) + 5


def test_an_unknown_file_is_refused(copy):
    (copy / "code.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"'code\.pkl' is not part of a bundle"):
        load(copy)


def test_links_are_refused(copy, tmp_path):
    """Through a link the bytes could change after the check, or come from any file of the machine."""
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
    with pytest.raises(BundleError, match="not a regular file"):
        load(copy)


def test_a_graph_of_another_model_is_refused(copy, bundle):
    seal("decoder.onnx", bundle.files["encoder.onnx"])(copy)
    with pytest.raises(BundleError, match=r"decoder\.onnx: has inputs or outputs"):
        load(copy)


def test_random_damage_with_right_digests_is_refused_or_harmless(bundle):
    """For any bytes, the reader raises BundleError or returns a working scorer; it never raises another error."""

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(FILES), st.integers(0, 2**32), st.binary(min_size=1, max_size=8))
    def damage(name, where, what):
        data = bytearray(bundle.files[name])
        start = where % len(data)
        data[start : start + len(what)] = what
        with contextlib.suppress(BundleError):
            Scorer(_with_digests(bundle.manifest, dict(bundle.files) | {name: bytes(data)}), threads=1)

    damage()


def test_a_missing_folder_and_a_file_are_explained(tmp_path):
    with pytest.raises(BundleError, match="no model bundle there"):
        load(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"manifest\.json is missing; is this the directory"):
        load(tmp_path)


def test_an_existing_output_is_replaced_only_with_overwrite(bundle, copy, tmp_path):
    with pytest.raises(ConfigError, match="exists already"):
        write_bundle(bundle, copy)
    write_bundle(bundle, copy, overwrite=True)
    load(copy)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_overwrite_deletes_only_bundles(bundle, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"'holiday\.jpg', which is not part of a bundle"):
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
    with pytest.raises(ConfigError, match=rf"'{re.escape(name)}', which is not part of a bundle; --overwrite would"):
        write_bundle(bundle, copy, overwrite=True)
    assert (copy / name / "#4711").read_bytes() == b"precious"


def test_overwrite_never_deletes_a_folder_that_it_cannot_read(bundle, copy, monkeypatch):
    (copy / "lost+found").mkdir()
    real = os.listdir

    def listdir(path):
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(ConfigError, match=r"'lost\+found', which is not part of a bundle"):
        write_bundle(bundle, copy, overwrite=True)


def test_overwrite_says_where_a_mounted_file_system_forbids_it(bundle, copy, tmp_path, monkeypatch):
    """Before training if the mount is visible, otherwise when the folder cannot be renamed."""
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


def test_overwrite_replaces_a_bundle_of_other_files(bundle, ensemble, copy):
    """An ensemble has more files: the files that may be replaced do not depend on the files that are written."""
    write_bundle(ensemble.bundle, copy, overwrite=True)
    assert "encoder-2.onnx" in os.listdir(copy)
    write_bundle(bundle, copy, overwrite=True)
    assert sorted(os.listdir(copy)) == sorted(ALL)


@pytest.mark.parametrize("moment", ["sync", "replace_directory"])
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
