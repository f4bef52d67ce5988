"""A folder of the versions of one model, changed as an operator changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["VersionFolder"]


class VersionFolder:
    """The folder ``models/NAME/VERSION``.

    Attributes:
        models: The folder to serve.
        path: The folder of the model.
    """

    def __init__(self, models: Path, name: str = "model") -> None:
        """Make the folder."""
        self.models, self.path = models, models / name
        self.path.mkdir(parents=True)

    @property
    def versions(self) -> list[int]:
        """The versions in the folder, the oldest first."""
        return sorted(int(path.name) for path in self.path.iterdir() if path.name.isdecimal())

    def add(self, bundle: Path, version: int) -> Path:
        """Copy a bundle beside the versions, then rename it, as the documentation says."""
        part = shutil.copytree(bundle, self.path / f".{version}.part", symlinks=True)
        return part.rename(self.path / str(version))

    def replace(self, bundle: Path, version: int) -> Path:
        """Put another bundle under a version, by two renames."""
        part, old = self.path / f".{version}.part", self.path / f".{version}.old"
        shutil.copytree(bundle, part, symlinks=True)
        (self.path / str(version)).rename(old)
        part.rename(self.path / str(version))
        shutil.rmtree(old)
        return self.path / str(version)

    def remove(self, version: int) -> None:
        """Rename a version, so that it vanishes at once, and delete it."""
        old = (self.path / str(version)).rename(self.path / f".{version}.old")
        shutil.rmtree(old)
