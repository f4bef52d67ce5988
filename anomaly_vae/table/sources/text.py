"""What all sources of texts share."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from anomaly_vae.table.raw import Fragment
from anomaly_vae.table.sources.encoding import TextStream

__all__ = ["TextSource"]


class TextSource:
    """A source whose cells are texts from a stream. See :class:`~anomaly_vae.table.raw.Source`."""

    is_text = True
    names: tuple[str, ...]
    fragments: tuple[Fragment, ...] = ()
    skipped: Mapping[int, str] = {}

    def skip_to(self, fragment: int) -> None:
        """See :class:`~anomaly_vae.table.raw.Source`; there is one file."""

    def __init__(self, stream: TextStream) -> None:
        self.where, self._stream = stream.where, stream
        self.encoding: str | None = stream.encoding
        self._handed: float = 0
        self._finished = False

    def type_of(self, name: str) -> pa.DataType:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return dict.fromkeys(self.names, pa.string())[name]

    def close(self) -> None:
        """Close the file; reading it to its end does so too."""
        self._stream.close()

    def progress(self) -> tuple[float, float | None]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return self._stream.total() if self._finished else self._stream.progress(self._handed)
