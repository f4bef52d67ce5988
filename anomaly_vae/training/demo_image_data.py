"""The images of the demo: scikit-learn's handwritten digits, and images that are no digits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

__all__ = ["KINDS", "DemoImages", "make_images"]

# The kinds of held-out images: the first is normal.
KINDS = ("digit", "letter", "inverted", "noise")

# Held-out digits, and images of each other kind. The other 1,437 digits train, stop and calibrate.
_HELD_OUT, _OF_EACH_KIND = 360, 60

# Letters in the size of the digits, which fill 5 to 7 of 8 columns.
_LETTERS = (
    "X....X. .X..X.. ..XX... ..XX... ..XX... .X..X.. X....X. .......",
    "XXXXXX. ..XX... ..XX... ..XX... ..XX... ..XX... ..XX... .......",
    "X.....X X.....X X.....X X..X..X X.X.X.X XX...XX X.....X .......",
    "XX..XX. XX..XX. XX..XX. XXXXXX. XX..XX. XX..XX. XX..XX. .......",
    "X.....X XX...XX X.X.X.X X..X..X X.....X X.....X X.....X .......",
    "XX..XX. XX.XX.. XXXX... XXX.... XXXX... XX.XX.. XX..XX. .......",
)

# What a pen leaves in the pixels beside a stroke.
_BLUR = 0.25

_WHITE = 255


class DemoImages(NamedTuple):
    """Grey images of 8 x 8 pixels, uint8.

    Attributes:
        train: Digits, shape (N, 8, 8).
        held_out: Images to score, shape (M, 8, 8).
        kinds: What each of these is, one of ``KINDS``.
    """

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    kinds: tuple[str, ...]


def make_images(seed: int) -> DemoImages:
    """Return digits to train on, and other digits, letters, inverted digits and noise to score."""
    rng = np.random.default_rng(seed)
    images = np.rint(load_digits().images * (_WHITE / 16)).astype(np.uint8)  # they have 17 grey levels
    images = images[rng.permutation(len(images))]
    digits = images[:_HELD_OUT]
    others = {
        "letter": np.stack([_letter(_LETTERS[i % len(_LETTERS)], rng) for i in range(_OF_EACH_KIND)]),
        "inverted": _WHITE - digits[:_OF_EACH_KIND],
        "noise": rng.integers(0, _WHITE + 1, size=(_OF_EACH_KIND, 8, 8), dtype=np.uint8),
    }
    kinds = ["digit"] * len(digits) + [kind for kind, made in others.items() for _ in made]
    return DemoImages(images[_HELD_OUT:], np.concatenate([digits, *others.values()]), tuple(kinds))


def _letter(rows: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a letter, one pixel to the right half of the time, with a blurred stroke of some strength."""
    ink = np.array([[pixel == "X" for pixel in f"{row}."] for row in rows.split()], dtype=np.float64)
    ink = np.roll(ink, int(rng.integers(0, 2)), axis=1)
    padded = np.pad(ink, 1)
    beside = np.max([padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]], axis=0)
    strength = rng.uniform(0.7, 1.0, size=ink.shape)
    return np.asarray(np.rint(_WHITE * strength * np.maximum(ink, _BLUR * beside)), dtype=np.uint8)
