"""Images of digits, and images that are none: turned, inverted and shuffled ones, noise, and letters."""

from __future__ import annotations

import gzip
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.images import open_images, shape_of_images, to_image_rows

__all__ = ["Kind", "Pictures", "binarised", "digits", "letter_fonts", "letters", "mnist", "strange"]

# Images that train; the others are held out.
_MNIST_TRAIN, _DIGITS_TRAIN = 8000, 1437

# Digits that look nearly the same when they are turned by 90 degrees, or turned into each other's likeness.
_NOT_TURNED = (0, 1, 8)

# Drawings of letters: size of the image, smallest and largest font and largest shift from the middle, pixels.
_CANVAS, _FONT_SIZES, _SHIFT = 28, (18, 24), 2

# Fonts by file name, from a few that differ.
_DEJAVU = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-ExtraLight", "DejaVuSerif", "DejaVuSansMono")

FontOf = Callable[[int], Any]


class Pictures(NamedTuple):
    """Images that are normal.

    Attributes:
        name: Of the data.
        shape: What an image is.
        top: The value of white.
        train: Images to train on, rows (N, D).
        held_out: Other images, rows (M, D).
        labels: The digits of the held-out images, (M,).
    """

    name: str
    shape: ImageShape
    top: int
    train: np.ndarray
    held_out: np.ndarray
    labels: np.ndarray

    def few(self, rows: int | None) -> Pictures:
        """Return the same with this number of training images."""
        return self if rows is None else self._replace(train=self.train[:rows])


class Kind(NamedTuple):
    """Images of one strange kind, rows (n, D), and which held-out images to compare them with, (M,)."""

    rows: np.ndarray
    compared: np.ndarray


def mnist(folder: Path) -> Pictures:
    """Return the 10,000 test images of MNIST in a fixed random order, 8,000 to train on and 2,000 held out."""
    source = open_images(folder / "t10k-images-idx3-ubyte.gz")
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    order = np.random.default_rng(0).permutation(len(source))
    rows = np.concatenate([batch.rows() for batch in source.batches()])[order]
    held_out = labels[order][_MNIST_TRAIN:]
    return Pictures("mnist", source.shape, 255, rows[:_MNIST_TRAIN], rows[_MNIST_TRAIN:], held_out)


def digits() -> Pictures:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels and 17 levels, four fifths to train on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = data.images[order].astype(np.uint8)
    shape = shape_of_images(images)
    rows = to_image_rows(images, shape)
    held_out = data.target[order][_DIGITS_TRAIN:]
    return Pictures("digits", shape, 16, rows[:_DIGITS_TRAIN], rows[_DIGITS_TRAIN:], held_out)


def binarised(pictures: Pictures) -> Pictures:
    """Return the same images with pixels 0 and 1."""
    shape = ImageShape(height=pictures.shape.height, width=pictures.shape.width, depth="float", low=0.0, high=1.0)
    train, held_out = ((2 * rows > pictures.top).astype(float) for rows in (pictures.train, pictures.held_out))
    return pictures._replace(name=f"{pictures.name} binarised", shape=shape, top=1, train=train, held_out=held_out)


def strange(pictures: Pictures, count: int, seed: int) -> dict[str, Kind]:
    """Return about ``count`` images of each strange kind, by name; black and white have only one."""
    rng = np.random.default_rng(seed)
    top, (height, width, _) = pictures.top, pictures.shape.sizes
    chosen = pictures.held_out[rng.permutation(len(pictures.held_out))[:count]]
    turns = ~np.isin(pictures.labels, _NOT_TURNED)
    upright = pictures.held_out[turns][:count].reshape(-1, height, width)
    everything = np.ones(len(pictures.labels), dtype=bool)
    rows = {
        "inverted": top - chosen,
        "shuffled": rng.permuted(chosen, axis=1),
        "noise": rng.integers(0, top + 1, chosen.shape).astype(float),
        "black": np.zeros((1, chosen.shape[1])),
        "white": np.full((1, chosen.shape[1]), float(top)),
    }
    rows |= {
        f"letters {name}": letters(font, count, rng, (height, width), top) for name, font in letter_fonts().items()
    }
    kinds = {name: Kind(of, everything) for name, of in rows.items()}
    for name, quarters in {"turned left": 1, "turned right": -1}.items():
        kinds[name] = Kind(np.rot90(upright, quarters, (1, 2)).reshape(len(upright), -1), turns)
    return kinds


def letters(font: FontOf, count: int, rng: np.random.Generator, sizes: tuple[int, int], top: int) -> np.ndarray:
    """Return drawn letters in white on black, rows (count, D).

    Args:
        font: Returns the font of a size in pixels.
        count: Letters.
        rng: Of their sizes and places.
        sizes: Height and width of the images.
        top: The value of white.
    """
    rows = []
    for i in range(count):
        size = int(rng.integers(_FONT_SIZES[0], _FONT_SIZES[1] + 1))
        image = _letter(string.ascii_letters[i % len(string.ascii_letters)], font(size), rng)
        if sizes != (_CANVAS, _CANVAS):
            image = image.resize(sizes[::-1], Image.Resampling.BOX)
        rows.append(np.rint(np.asarray(image, dtype=float) * (top / 255.0)).ravel())
    return np.array(rows)


def _letter(text: str, font: Any, rng: np.random.Generator) -> Image.Image:
    image = Image.new("L", (_CANVAS, _CANVAS), 0)
    draw = ImageDraw.Draw(image)
    left, upper, right, lower = draw.textbbox((0, 0), text, font=font)
    shift = rng.integers(-_SHIFT, _SHIFT + 1, 2)
    place = ((_CANVAS - right + left) / 2 - left + shift[0], (_CANVAS - lower + upper) / 2 - upper + shift[1])
    draw.text(place, text, fill=255, font=font)
    return image


def letter_fonts() -> dict[str, FontOf]:
    """Return fonts by name: Pillow's own, and those of DejaVu that matplotlib or the system has."""
    import matplotlib as mpl

    folders = (Path(mpl.get_data_path()) / "fonts/ttf", Path("/usr/share/fonts/truetype/dejavu"))
    found: dict[str, FontOf] = {"Pillow": ImageFont.load_default}
    for name in _DEJAVU:
        paths = [path for path in (folder / f"{name}.ttf" for folder in folders) if path.exists()]
        if paths:
            found[name] = _sizes_of(paths[0])
    return found


def _sizes_of(path: Path) -> FontOf:
    return lambda size: ImageFont.truetype(path, size)
