"""Where the versions of models lie."""

import os
import shutil
from pathlib import Path

import pytest

from anomaly_vae.errors import BundleError
from anomaly_vae.service.models.places import LocalPlaces, is_version, stamp_of


def bundle(path):
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    return path


def scan(folder):
    return {key: path.relative_to(folder) for key, path in LocalPlaces(folder, "name", "7").scan().items()}


def test_a_bundle_is_the_only_version_under_the_given_name(tmp_path):
    bundle(tmp_path / "m")
    bundle(tmp_path / "m" / "3")  # a folder inside a bundle is not a version
    assert {key: str(path) for key, path in scan(tmp_path / "m").items()} == {("name", "7"): "."}


def test_a_folder_of_versions_is_one_model(tmp_path):
    for version in ("1", "12", "007"):
        bundle(tmp_path / version)
    (tmp_path / "notes").mkdir()
    assert sorted(scan(tmp_path)) == [("name", "1"), ("name", "12"), ("name", "7")]


def test_a_folder_of_models_has_their_versions_without_those_that_are_still_written(tmp_path):
    for path in ("fraud/1", "fraud/2", "other/5", "fraud/.3", "fraud/_4", ".hidden/1", "..data/1", "empty"):
        bundle(tmp_path / path)
    assert sorted(scan(tmp_path)) == [("fraud", "1"), ("fraud", "2"), ("other", "5")]


def test_a_version_may_be_a_link_as_mounted_volumes_have(tmp_path):
    target = bundle(tmp_path / "elsewhere")
    (tmp_path / "models" / "fraud").mkdir(parents=True)
    (tmp_path / "models" / "fraud" / "1").symlink_to(target)
    assert sorted(scan(tmp_path / "models")) == [("fraud", "1")]


def test_of_two_folders_of_the_same_version_one_is_refused_and_nothing_else_suffers(tmp_path):
    for path in ("fraud/03", "fraud/3", "fraud/003", "other/1"):
        bundle(tmp_path / path)
    places = LocalPlaces(tmp_path, "name", "7")
    assert places.scan() == {("fraud", "3"): tmp_path / "fraud/3", ("other", "1"): tmp_path / "other/1"}
    assert list(places.refused) == [("fraud", "3")]
    assert "003: 3 beside it is the same version; remove one" in str(places.refused["fraud", "3"])
    for path in ("fraud/03", "fraud/003"):
        shutil.rmtree(tmp_path / path)
    assert len(places.scan()) == 2
    assert not places.refused


def test_a_volume_may_have_a_folder_of_its_file_system_that_nobody_can_read(tmp_path, monkeypatch):
    bundle(tmp_path / "fraud" / "1")
    (tmp_path / "lost+found").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(scan(tmp_path)) == [("fraud", "1")]


def test_a_place_that_does_not_answer_is_an_error_of_the_place(tmp_path, monkeypatch):
    def exists(_path):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(BundleError, match="cannot be read: Stale file handle"):
        scan(tmp_path)


def test_files_without_a_folder_are_taken_for_a_damaged_bundle(tmp_path):
    (tmp_path / "encoder.onnx").touch()
    assert list(scan(tmp_path)) == [("name", "7")]


@pytest.mark.parametrize(
    ("before", "later"),
    [
        ("fraud/1", "manifest.json"),  # a bundle where models are
        ("fraud/1", "7/manifest.json"),  # a version where models are
        ("1", "manifest.json"),
        ("1", "2.bak/3/manifest.json"),
        ("fraud/1", "fraud/manifest.json"),
    ],
)
def test_what_is_put_into_the_wrong_place_later_hides_nothing(tmp_path, before, later):
    bundle(tmp_path / before)
    places = LocalPlaces(tmp_path, "name", "7")
    found = places.scan()
    (tmp_path / later).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / later).touch()
    assert places.scan() == found


def test_a_bundle_that_loses_its_manifest_is_still_looked_at(tmp_path):
    """Its reader then says what is missing, and the loaded model stays."""
    places = LocalPlaces(bundle(tmp_path / "m"), "name", "7")
    found = places.scan()
    (tmp_path / "m" / "manifest.json").unlink()
    (tmp_path / "m" / "7").mkdir()
    assert places.scan() == found


def test_an_empty_folder_decides_nothing_yet(tmp_path):
    places = LocalPlaces(tmp_path, "name", "7")
    assert places.scan() == {}
    bundle(tmp_path / "3")
    assert list(places.scan()) == [("name", "3")]


@pytest.mark.parametrize("place", ["loop", "fraud/2"])
def test_a_link_to_itself_is_left_out(tmp_path, place):
    bundle(tmp_path / "fraud" / "1")
    (tmp_path / place).symlink_to(tmp_path / place)
    assert list(scan(tmp_path)) == [("fraud", "1")]


def test_an_empty_folder_has_no_model_and_a_missing_one_is_an_error(tmp_path):
    assert scan(tmp_path) == {}
    with pytest.raises(BundleError, match="no model there: No such file or directory; expected a bundle or a folder"):
        scan(tmp_path / "missing")


@pytest.mark.parametrize(("name", "expected"), [("1", True), ("0", False), ("-1", False), ("v1", False), ("", False),
                                                ("9" * 18, True), ("9" * 19, False), ("²", False)])  # fmt: skip
def test_versions_are_positive_whole_numbers(name, expected):
    assert is_version(name) is expected


def test_the_stamp_changes_with_every_file_and_with_nothing_else(tmp_path):
    path = bundle(tmp_path / "m")
    stamps = [stamp_of(path), stamp_of(path)]
    assert stamps[0] == stamps[1]
    (path / "encoder.onnx").write_bytes(b"1")
    stamps.append(stamp_of(path))
    os.utime(path / "encoder.onnx", ns=(1, 1))
    stamps.append(stamp_of(path))
    (path / "new").write_bytes(b"1")
    (path / "new").replace(path / "manifest.json")
    stamps.append(stamp_of(path))
    before = (path / "manifest.json").stat()
    (path / "new").write_bytes(b"2")  # another file of the same size and time, as copies that keep times have
    os.utime(path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (path / "new").replace(path / "manifest.json")
    stamps.append(stamp_of(path))
    assert len(set(stamps)) == 5
    assert stamp_of(tmp_path / "missing") is None


def test_a_folder_with_too_many_entries_is_refused_rather_than_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("anomaly_vae.service.models.places._MOST_ENTRIES", 3)
    for version in "123":
        bundle(tmp_path / version)
    assert len(scan(tmp_path)) == 3
    bundle(tmp_path / "4")
    with pytest.raises(BundleError, match="has more than 3 entries"):
        scan(tmp_path)
