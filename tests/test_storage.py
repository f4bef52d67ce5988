"""Files appear completely or not at all, at whatever moment Ctrl-C comes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
from pathlib import Path

import pytest

from anomaly_vae import storage
from anomaly_vae.errors import ConfigError


def interrupt_at(number):
    """Return a trace function that raises KeyboardInterrupt at line ``number`` of the code that makes the file."""
    lines = itertools.count()
    files = {storage.__file__, sys.modules[Path.__module__].__file__}

    def trace(frame, event, _):
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and next(lines) == number:
            raise KeyboardInterrupt
        return trace

    return trace


def test_ctrl_c_leaves_no_file_behind_at_any_line(tmp_path):
    before, entered = sys.gettrace(), False
    for number in range(1000):
        with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
            stack.callback(sys.settrace, before)
            sys.settrace(interrupt_at(number))
            stack.enter_context(storage.atomic_file(tmp_path / "scores.csv", overwrite=False))
            sys.settrace(before)
            entered = True
            raise KeyboardInterrupt
        assert os.listdir(tmp_path) == [], number
        if entered:
            break
    assert entered
    assert number > 10


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_and_folders_have_the_modes_that_the_umask_leaves_them(tmp_path, mask):
    before = os.umask(mask)
    try:
        with storage.atomic_file(tmp_path / "scores.csv", overwrite=False) as part:
            part.write_bytes(b"x")
        storage.write_directory(tmp_path / "model", {"a": b"x"}, replaceable=("a",), overwrite=False)
    finally:
        os.umask(before)
    paths = ("scores.csv", "model", "model/a")
    expected = [0o666 & ~mask, 0o777 & ~mask, 0o666 & ~mask]
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in paths] == expected


def test_the_longest_name_can_be_written(tmp_path):
    """The temporary name has more letters than the name itself, and a letter may have 4 bytes."""
    for name in ("a" * 255, "\N{GRINNING FACE}" * 63):
        with storage.atomic_file(tmp_path / name, overwrite=False) as part:
            part.write_bytes(b"x")
        (tmp_path / name).unlink()
        for overwrite in (False, True):
            storage.write_directory(tmp_path / name, {"a": b"x"}, replaceable=("a",), overwrite=overwrite)
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name / "a").unlink()
        (tmp_path / name).rmdir()


WRONG = {
    "no folder": ("nothing/out", "the folder .*nothing does not exist; create it first"),
    "a file as folder": ("file/out", "the folder .*file does not exist; create it first"),
    "a long name": ("a" * 256, "cannot be written: File name too long; choose another path"),
    "a long folder": ("a" * 256 + "/out", "does not exist; create it first|File name too long"),
    "a circle of links": ("circle/out", "does not exist; create it first|Too many levels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_paths_that_cannot_be_written_are_known_before(tmp_path, case):
    name, message = WRONG[case]
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "circle").symlink_to("circle")
    for refuse in (storage.refuse_file, storage.refuse_existing):
        with pytest.raises(ConfigError, match=message):
            refuse(tmp_path / name, overwrite=True)
    with pytest.raises(ConfigError, match=message):
        storage.refuse_directory(tmp_path / name, (), overwrite=True)


def test_a_directory_is_no_file_to_replace(tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ConfigError, match=r"out\.csv is a directory; give the name of a file"):
        storage.refuse_file(tmp_path / "out.csv", overwrite=True)


def test_a_read_only_file_system_is_known_before(tmp_path, monkeypatch):
    """Mounting one needs rights that tests lack."""
    monkeypatch.setattr(os, "statvfs", lambda _: type("Status", (), {"f_flag": os.ST_RDONLY})())
    with pytest.raises(ConfigError, match=r"the file system of .* is read-only; choose another folder"):
        storage.refuse_existing(tmp_path / "out", overwrite=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_known_before(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(ConfigError, match=r"no permission to write in .*closed; choose another folder"):
        storage.refuse_existing(folder / "out", overwrite=False)
    folder.chmod(0)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied; choose another path"):
        storage.refuse_existing(folder / "out", overwrite=False)
    folder.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, ConfigError),
        (errno.EPERM, ConfigError),
        (errno.EROFS, ConfigError),
        (errno.ENOENT, ConfigError),
        (errno.ENAMETOOLONG, ConfigError),
        (errno.ENOSPC, OSError),
        (errno.EDQUOT, OSError),
        (errno.EIO, OSError),
    ],
)
def test_a_wrong_path_is_the_user_s_and_a_full_disk_the_machine_s(tmp_path, monkeypatch, number, kind):
    """Both name the user's path; what cannot be known before may still come when the file is made."""

    def fail(*_arguments, **_options):
        raise OSError(number, "the reason", "temporary")

    for name in ("touch", "mkdir"):
        monkeypatch.setattr(Path, name, fail)
    path = tmp_path / "out"
    with pytest.raises(kind, match="the reason") as file, storage.atomic_file(path, overwrite=False):
        pass
    with pytest.raises(kind, match="the reason") as folder:
        storage.write_directory(path, {"a": b""}, replaceable=("a",), overwrite=False)
    for caught in (file, folder):
        assert type(caught.value) is (ConfigError if kind is ConfigError else type(OSError(number, "")))
        assert str(path) in str(caught.value)
        assert "temporary" not in str(caught.value)


def test_an_error_while_a_file_is_filled_is_not_called_a_wrong_path(tmp_path):
    """The block may read other files as well."""
    with pytest.raises(FileNotFoundError), storage.atomic_file(tmp_path / "out", overwrite=False):
        raise FileNotFoundError(errno.ENOENT, "No such file", "other")
    assert os.listdir(tmp_path) == []
