"""Versions that come and go in a folder, for the soak."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from anomaly_vae.scorer import Scorer
from tests.support.version_folder import VersionFolder

__all__ = ["Changes"]

CHANGE_SECONDS = 3.0  # between two changes of the versions


class Changes:
    """A folder in which versions come and go, beside the canary, 1, and the shadow, 2."""

    def __init__(
        self, folder: VersionFolder, bundles: list[Path], scorers: list[Scorer], versions: dict[str, str]
    ) -> None:
        """Put versions 1 to 3 into the folder; ``versions`` gets the digest of each version."""
        self.folder, self._bundles, self._scorers, self._versions = folder, bundles, scorers, versions
        self.newest = 0
        for _ in range(3):
            self.change()

    def change(self) -> None:
        """Add a version, and remove the oldest but those that are always there and its predecessor."""
        self.newest += 1
        number = self.newest % len(self._bundles)
        self._versions[str(self.newest)] = self._scorers[number].bundle.digest
        self.folder.add(self._bundles[number], self.newest)
        if self.newest > 4:
            self.folder.remove(self.newest - 2)

    async def run(self, until: float) -> None:
        """Change the folder every few seconds."""
        while time.monotonic() < until:
            await asyncio.to_thread(self.change)
            await asyncio.sleep(CHANGE_SECONDS)
