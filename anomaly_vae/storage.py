"""Files and directories that appear under their name only when complete, and a careful reader of files."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from anomaly_vae.errors import BundleError, ConfigError

__all__ = [
    "STRAY_NAMES",
    "atomic_file",
    "publish",
    "read_file",
    "refuse_directory",
    "refuse_existing",
    "refuse_file",
    "replace_directory",
    "sync",
    "write_directory",
    "writing",
]

# Files that macOS, Windows and file system checks leave in folders.
STRAY_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"})

# The largest file that is read, bytes: 1 GiB. Chosen, not measured: it bounds the memory that a hostile file can take.
_FILE_LIMIT = 2**30

# Errors that another path would not have: the user can act, so they are wrong usage. A full disk, a quota and a broken
# disk are faults of the machine.
_WRONG_PATH = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ETXTBSY,
        errno.EINVAL,  # a name with letters that the file system does not allow
        errno.EILSEQ,
    }
)

# Letters of a name that its temporary name has. A letter has up to 4 bytes, and names up to 255.
_NAME_LETTERS = 50

_LINKED = "{}: is a link or not a regular file; copy the files themselves into the folder"
_MOUNTED = (
    "{}: a file system is mounted there, and --overwrite cannot replace the folder of a mount; "
    "give a folder in it, such as {}/model"
)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if the path exists, or if nothing can be written there as far as can be known before.

    Its parent folder must exist and be writable, and its name must be allowed.
    """
    parent = path.absolute().parent
    with writing(path):
        if not parent.is_dir():
            raise ConfigError(f"{path}: the folder {parent} does not exist; create it first")
        if _exists(path) and not overwrite:
            raise ConfigError(
                f"{path} exists already; choose another name, or pass --overwrite (Python: overwrite=True)"
            )
        if os.statvfs(parent).f_flag & os.ST_RDONLY:
            raise ConfigError(f"{path}: the file system of {parent} is read-only; choose another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: no permission to write in {parent}; choose another folder")


def _exists(path: Path) -> bool:
    """Like ``os.path.lexists``, but raise OSError for a name that cannot exist, such as one that is too long."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def refuse_file(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if :func:`atomic_file` could not write to this path, as far as can be known before."""
    refuse_existing(path, overwrite=overwrite)
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; give the name of a file")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ConfigError for an OSError that another path would not have; any other OSError names ``path``."""
    with _named(path):
        try:
            yield
        except OSError as error:
            if error.errno not in _WRONG_PATH:
                raise
            reason = error.strerror or str(error)
            raise ConfigError(f"{path}: cannot be written: {reason}; choose another path") from error


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an OSError name the user's path, not the temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def refuse_directory(path: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """Raise ConfigError if the path may not be replaced by a directory: it may hold only files of these names."""
    refuse_existing(path, overwrite=overwrite)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise ConfigError(f"{path} is not a directory; --overwrite replaces only a model bundle")
    if os.path.ismount(path):
        raise ConfigError(_MOUNTED.format(path, path))
    foreign = sorted(name for name in set(os.listdir(path)) - set(names) if not _is_stray(path / name))
    if foreign:
        raise ConfigError(f"{path} holds {foreign[0]!r}, which is not part of a bundle; --overwrite would delete it")


def _is_stray(path: Path) -> bool:
    """Return whether the file may be deleted with its folder; lost+found may not if it holds recovered files."""
    if path.name not in STRAY_NAMES:
        return False
    if path.is_symlink() or not path.is_dir():
        return True
    try:
        return not os.listdir(path)
    except OSError:  # only the administrator may read it
        return False


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool, outside: bool = False) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; on success flush and rename it to ``path``, otherwise remove it.

    With ``outside`` the temporary file lies beside the folder of ``path``, so that the folder never has another file.
    """
    refuse_file(path, overwrite=overwrite)
    part = _temporary_path(path.absolute().parent if outside else path)
    try:
        with writing(path):
            part.touch(exist_ok=False)
        with _named(path):
            yield part
        publish(part, path, overwrite=overwrite)
    finally:
        part.unlink(missing_ok=True)


def _temporary_path(path: Path) -> Path:
    """Return a hidden path beside ``path``, known before the file exists so that Ctrl-C at any moment removes it."""
    return path.absolute().parent / f".{path.name[:_NAME_LETTERS]}.{secrets.token_hex(4)}.part"


def publish(part: Path, path: Path, *, overwrite: bool) -> None:
    """Flush a complete file and rename it to ``path``.

    Raises:
        ConfigError: Another job has written the path meanwhile, and ``overwrite`` is False; or it cannot be written.
    """
    with writing(path):
        sync(part)
        if overwrite:
            part.replace(path)
        else:
            _rename_to_new(part, path)
        sync(path.absolute().parent)


def _rename_to_new(part: Path, path: Path) -> None:
    """Rename a file, but not over a file that another job wrote meanwhile: a hard link never replaces a file."""
    try:
        path.hardlink_to(part)
    except FileExistsError as error:
        raise ConfigError(f"{path} appeared meanwhile; it was not replaced") from error
    except OSError:  # the file system has no hard links
        refuse_existing(path, overwrite=False)
        part.replace(path)


def write_directory(path: Path, files: Mapping[str, bytes], *, replaceable: Iterable[str], overwrite: bool) -> None:
    """Write a directory of files under a temporary name, flush it, and rename it to ``path``.

    With ``overwrite``, an existing directory is replaced if it holds only files named in ``replaceable``.

    Raises:
        ConfigError: ``path`` exists and cannot be replaced, or its parent does not exist.
    """
    refuse_directory(path, replaceable, overwrite=overwrite)
    parent = path.absolute().parent
    part = _temporary_path(path)
    try:
        with writing(path):
            part.mkdir()
            for name, data in files.items():
                (part / name).write_bytes(data)
                sync(part / name)
            sync(part)
            replace_directory(part, path)
            sync(parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def replace_directory(part: Path, path: Path) -> None:
    """Rename the new directory to ``path``. A rename cannot replace a directory with files, so move the old one away.

    If the second rename fails, move the old directory back.
    """
    if not path.exists():
        part.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:_NAME_LETTERS]}.", suffix=".old", dir=path.absolute().parent))
    try:
        path.rename(aside / path.name)
    except OSError as error:
        aside.rmdir()
        if error.errno == errno.EBUSY:  # os.path.ismount does not see bind mounts of the same file system
            raise ConfigError(_MOUNTED.format(path, path)) from error
        raise
    try:
        part.rename(path)
    except BaseException:
        (aside / path.name).rename(path)  # if this fails too, the old directory stays in ``aside``
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def read_file(folder: int, name: str, path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes through an open directory.

    Args:
        folder: File descriptor of the directory.
        name: Name of the file in it.
        path: Path of the directory, for error messages.
        limit: Largest size, bytes.

    Raises:
        BundleError: The file is missing (raised from FileNotFoundError), a link, not a regular file, or too large.
    """
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: {name} is missing; is this the directory made by `anomaly-vae train`?") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BundleError(_LINKED.format(f"{path}/{name}")) from error
        raise BundleError(f"{path}/{name}: cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise BundleError(_LINKED.format(f"{path}/{name}"))
        if status.st_size > min(limit, _FILE_LIMIT):
            raise BundleError(
                f"{path}/{name}: {status.st_size} bytes, expected at most {min(limit, _FILE_LIMIT)}; the file was "
                "changed after export. Copy the folder again"
            )
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(status.st_size + 1)
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
