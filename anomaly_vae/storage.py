"""Files and directories that appear under their name only when complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from anomaly_vae.errors import ConfigError

__all__ = ["atomic_file", "refuse_directory", "refuse_existing", "write_directory"]


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if something has that name already, or if its folder does not exist or cannot be written."""
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"{path} exists already; choose another name, or pass --overwrite (Python: overwrite=True)")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise ConfigError(f"{path}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: no permission to write in {parent}; choose another folder")


def refuse_directory(path: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """:func:`refuse_existing`, and never overwrite anything but a directory of files of these names."""
    refuse_existing(path, overwrite=overwrite)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise ConfigError(f"{path} is not a directory; --overwrite replaces only a model bundle")
    foreign = sorted(set(os.listdir(path)) - set(names))
    if foreign:
        raise ConfigError(f"{path} holds {foreign[0]!r}, which is no part of a bundle; --overwrite would delete it")


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary sibling to write; on success flush it and rename it to ``path``, otherwise remove it."""
    refuse_existing(path, overwrite=overwrite)
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; give the name of a file")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
    os.fchmod(handle, 0o666 & ~_umask())
    os.close(handle)
    part = Path(name)
    try:
        yield part
        _sync(part)
        if overwrite:
            part.replace(path)
        else:
            _publish(part, path)
        _sync(path.absolute().parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error  # the user's name, not ours
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, path: Path) -> None:
    """Give the file its name unless another job was faster: a link, unlike a rename, never replaces."""
    try:
        path.hardlink_to(part)
    except FileExistsError as error:
        raise ConfigError(f"{path} appeared meanwhile; it was left as it is") from error
    except OSError:  # a file system without links
        refuse_existing(path, overwrite=False)
        part.replace(path)


def write_directory(path: Path, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write a directory of files under a temporary name, flush it, and rename it to ``path``.

    With ``overwrite`` a directory already there is replaced, provided it holds nothing but such files.

    Raises:
        ConfigError: ``path`` exists and may not be replaced, or its parent does not exist.
    """
    refuse_directory(path, files, overwrite=overwrite)
    parent = path.absolute().parent
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=parent))
    try:
        part.chmod(0o777 & ~_umask())
        for name, data in files.items():
            (part / name).write_bytes(data)
            _sync(part / name)
        _sync(part)
        _replace_directory(part, path)
        _sync(parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace_directory(part: Path, path: Path) -> None:
    """Renaming onto a non-empty directory fails, so the old one steps aside first and comes back on failure."""
    if not path.exists():
        part.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.absolute().parent))
    path.rename(aside / path.name)
    try:
        part.rename(path)
    except BaseException:
        (aside / path.name).rename(path)  # if this fails too, the old directory stays where it is
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
