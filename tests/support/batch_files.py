"""Outputs of batch jobs: a file, or a folder of files."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["contents", "remove"]


def contents(path: Path) -> bytes | dict[str, bytes]:
    """Return the bytes of a file, or those of all files of a folder but the one that describes the job, by name."""
    if path.is_dir():
        found = (each for each in path.rglob("*") if each.is_file() and not each.name.startswith("_"))
        return {str(each.relative_to(path)): each.read_bytes() for each in found}
    return path.read_bytes()


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
