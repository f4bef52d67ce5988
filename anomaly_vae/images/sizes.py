"""One size for all images of a source, or an error that says which sizes there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from anomaly_vae.columns.image_arrays import image_shape
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.images.decoding import Look

__all__ = ["Sizes"]

# Kinds of images in a message.
_SHOWN = 4

# White of 16-bit greys.
_DEEP_WHITE = 2.0**16 - 1


class _Kind(NamedTuple):
    sizes: tuple[int, int, int]
    depth: str


class Sizes:
    """The sizes, channels and depths of encoded images, collected from their headers."""

    def __init__(self) -> None:
        self._counts: Counter[_Kind] = Counter()
        self._examples: dict[_Kind, str] = {}
        self._num_alpha = 0

    def add(self, look: Look, name: str) -> None:
        """Add one image."""
        kind = _Kind(look.sizes, look.depth)
        self._counts[kind] += 1
        self._examples.setdefault(kind, name)
        self._num_alpha += look.has_alpha

    @property
    def is_empty(self) -> bool:
        """Whether no image could be read."""
        return not self._counts

    def shape(self, where: str, *, is_resized: bool) -> ImageShape:
        """Return what each image is.

        Raises:
            InvalidInput: The images are of several kinds; the message has an example of each.
        """
        kinds = self._counts.most_common()
        if len(kinds) > 1:
            raise InvalidInput(f"{where}: {self._of_several_kinds()}")
        kind = kinds[0][0]
        deep: dict[str, Any] = {"depth": "float", "high": _DEEP_WHITE} if kind.depth == "float" else {}
        return image_shape(kind.sizes, where, resized=is_resized, **deep)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the decoded values."""
        return np.dtype(np.float64 if any(kind.depth == "float" for kind in self._counts) else np.uint8)

    def notes(self, where: str) -> Iterator[str]:
        """Yield what was left out of the images."""
        if self._num_alpha:
            yield (
                f"{where}: the transparency of {self._num_alpha} images is left out; "
                "--channels 4 (Python: channels=4) keeps it"
            )

    def _of_several_kinds(self) -> str:
        shown = [
            f"{count} of {_text(kind)} ({self._examples[kind]})" for kind, count in self._counts.most_common(_SHOWN)
        ]
        if len(self._counts) > _SHOWN:
            shown.append(f"{len(self._counts) - _SHOWN} other kinds")
        sizes = {kind.sizes[:2] for kind in self._counts}
        channels = {kind.sizes[2] for kind in self._counts}
        remedies = []
        if len(sizes) > 1:
            height, width, _ = self._counts.most_common(1)[0][0].sizes
            remedies.append(f"--resize {height}x{width} (Python: resize) makes one size")
        if len(channels) > 1:
            remedies.append("--channels 1 or --channels 3 (Python: channels) makes all grey or all coloured")
        if len({kind.depth for kind in self._counts}) > 1:
            remedies.append("convert images of 16 bits to 8 bits, or choose them by a pattern")
        return f"holds images of several kinds: {', '.join(shown)}; {'; '.join(remedies)}"


def _text(kind: _Kind) -> str:
    height, width, channels = kind.sizes
    bits = " of 16 bits" if kind.depth == "float" else ""
    return f"{height}x{width} with {channels} channel{'s' if channels > 1 else ''}{bits}"
