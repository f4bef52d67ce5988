"""Corruptions of images: what a classifier learns to tell from the images of the training.

Each of them breaks one regularity that images of any kind have: how their parts are arranged, which way is up, how
bright they are, how sharp, how smooth. Images are (N, C, H, W) with values from 0 to 1, the ends of their range.

References:
    Deep Anomaly Detection Using Geometric Transformations (Golan & El-Yaniv, 2018), https://arxiv.org/abs/1805.10917
    CutPaste (Li et al., 2021), https://arxiv.org/abs/2104.04015
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 (the usual name)

__all__ = ["CORRUPTIONS", "corrupted", "differs"]

Corruption = Callable[[Tensor, Generator], Tensor]

# Parts of a batch of corrupted images; each gets one corruption. Chosen, not measured: more parts mix more corruptions
# in a batch and take more calls.
_PARTS = 8

# A corrupted image counts if the root mean square of its change is more than this share of the image's own standard
# deviation. Chosen, not measured: it leaves out an image that is symmetric, or that has one colour.
_LEAST_CHANGE = 0.1

# The corruptions below have limits of angles (radians), shifts (halves of the image) and amplitudes (shares of the
# range). Chosen, not measured: up to what leaves the image recognisable as a corrupted one, and no further.
_MOST_SCALE, _MOST_SHEAR, _MOST_SHIFT, _MOST_NOISE, _MOST_GAMMA = 0.4, 0.5, 0.2, 0.3, 1.2
_WEAK_BEND, _STRONG_BEND, _BEND_POINTS = 0.15, 0.3, 4
_MOST_STROKES = 6


def corrupted(images: Tensor, samples: Tensor, generator: Generator, step: float | None = None) -> Tensor:
    """Return a corrupted copy of each image, by corruptions that are drawn at random, or a sample of a model.

    Args:
        images: Values from 0 to 1, shape (N, C, H, W).
        samples: Samples of the model of the images, which are drawn as often as those of one corruption.
        generator: Draws the corruptions and their amounts.
        step: The values lie on a grid with this step from 0 on, and so do the corrupted ones; None without a grid.
    """
    kinds = list(CORRUPTIONS.values())
    parts = []
    for part in images.chunk(min(_PARTS, len(images))):
        kind = int(torch.randint(len(kinds) + 1, (1,), generator=generator))
        if kind < len(kinds):
            parts.append(kinds[kind](part, generator))
        else:
            parts.append(samples[torch.randint(len(samples), (len(part),), generator=generator)])
    found = torch.cat(parts).clamp(0.0, 1.0)
    return found if step is None else torch.round(found / step) * step


def differs(images: Tensor, changed: Tensor) -> Tensor:
    """Return which corrupted images differ from the images that they were made from, shape (N,)."""
    change = (changed - images).square().flatten(1).mean(1).sqrt()
    return change > _LEAST_CHANGE * images.flatten(1).std(1, correction=0)


def _uniform(images: Tensor, generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return one number for each image, (N, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def _turned(images: Tensor, generator: Generator) -> Tensor:
    """Return images that are turned by 90, 180 or 270 degrees, or flipped."""
    turns, is_square = int(torch.randint(1, 8, (1,), generator=generator)), images.shape[2] == images.shape[3]
    if not is_square:
        return images.flip(((2, 3), (2,), (3,))[turns % 3])
    turned = torch.rot90(images, turns % 4, (2, 3))
    return turned.flip(3) if turns >= 4 else turned


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def _warped(images: Tensor, generator: Generator, most_angle: float = math.pi) -> Tensor:
    """Return images that are turned by any angle, scaled, sheared and shifted."""
    n = len(images)

    def draw(most: float) -> Tensor:
        return most * (2.0 * torch.rand(n, generator=generator) - 1.0)

    angle, shear = draw(most_angle), draw(_MOST_SHEAR)
    wide, high = draw(_MOST_SCALE).exp(), draw(_MOST_SCALE).exp()
    first = torch.stack([angle.cos() * wide, shear - angle.sin() * high, draw(_MOST_SHIFT)], 1)
    second = torch.stack([angle.sin() * wide, angle.cos() * high, draw(_MOST_SHIFT)], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    return _sampled(images, grid)


def _bent(images: Tensor, generator: Generator, amount: float = _WEAK_BEND) -> Tensor:
    """Return images that are bent smoothly."""
    shape = (len(images), 2, _BEND_POINTS, _BEND_POINTS)
    shift = _enlarged(amount * torch.randn(shape, generator=generator), images).permute(0, 2, 3, 1)
    same = torch.eye(2, 3).expand(len(images), 2, 3)
    return _sampled(images, F.affine_grid(same, list(images.shape), align_corners=False) + shift)


def _enlarged(coarse: Tensor, images: Tensor) -> Tensor:
    """Return smooth planes of the images' size through coarse ones."""
    return F.interpolate(coarse, size=images.shape[2:], mode="bicubic", align_corners=True)


def _box(images: Tensor, generator: Generator) -> Tensor:
    """Return the mask of a random rectangle in each image, (N, 1, H, W), between a quarter and the whole of a side."""
    masks = []
    for size in images.shape[2:]:
        length = torch.randint(max(size // 4, 1), size + 1, (len(images), 1), generator=generator)
        first = (torch.rand(len(images), 1, generator=generator) * (size - length + 1)).floor()
        places = torch.arange(size)
        masks.append((places >= first) & (places < first + length))
    return (masks[0][:, :, None] & masks[1][:, None, :])[:, None].float()


def _halved(images: Tensor, generator: Generator) -> Tensor:
    """Return images whose upper or left part is that of another image."""
    axis = int(torch.randint(2, 4, (1,), generator=generator))
    size = images.shape[axis]
    cut = int(torch.randint(size // 4, size - size // 4 + 1, (1,), generator=generator))
    other = images.roll(1, 0).narrow(axis, 0, cut)
    return torch.cat([other, images.narrow(axis, cut, size - cut)], axis)


def _pasted(images: Tensor, generator: Generator) -> Tensor:
    """Return images with a rectangle from elsewhere in another image."""
    height, width = images.shape[2:]
    shifts = [int(torch.randint(0, size, (1,), generator=generator)) for size in (height, width)]
    mask = _box(images, generator)
    return torch.where(mask > 0.0, images.roll([1, *shifts], [0, 2, 3]), images)


def _erased(images: Tensor, generator: Generator) -> Tensor:
    """Return images with a rectangle of one value."""
    mask = _box(images, generator)
    return torch.where(mask > 0.0, _uniform(images, generator).expand_as(images), images)


def _shuffled_patches(images: Tensor, generator: Generator) -> Tensor:
    """Return images cut into 2 x 2 to 4 x 4 patches in another order; what does not fill a patch stays."""
    cuts = [min(int(torch.randint(2, 5, (1,), generator=generator)), size) for size in images.shape[2:]]
    high, wide = (size // cut for size, cut in zip(images.shape[2:], cuts, strict=True))
    found = images.clone()
    order = torch.randperm(cuts[0] * cuts[1], generator=generator).tolist()
    for to, source in enumerate(order):
        (i, j), (k, m) = divmod(to, cuts[1]), divmod(source, cuts[1])
        part = images[:, :, k * high : (k + 1) * high, m * wide : (m + 1) * wide]
        found[:, :, i * high : (i + 1) * high, j * wide : (j + 1) * wide] = part
    return found


def _shuffled_pixels(images: Tensor, generator: Generator) -> Tensor:
    """Return images whose pixels are in another order, another one in each image."""
    flat = images.flatten(2)
    order = torch.rand(len(flat), 1, flat.shape[2], generator=generator).argsort(2)
    return flat.gather(2, order.expand_as(flat)).reshape(images.shape)


def _blurred(images: Tensor, _: Generator) -> Tensor:
    return F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def _sharpened(images: Tensor, generator: Generator) -> Tensor:
    """Return images whose differences to their surroundings are 2 to 5 times as large."""
    return (images + _uniform(images, generator, 1.0, 4.0) * (images - _blurred(images, generator))).clamp(0.0, 1.0)


def _cut_at_level(images: Tensor, generator: Generator) -> Tensor:
    """Return images of the two ends of the range only."""
    return (images > _uniform(images, generator, 0.2, 0.8)).float()


def _grown(images: Tensor, _: Generator) -> Tensor:
    return F.max_pool2d(images, 3, 1, 1)


def _shrunk(images: Tensor, _: Generator) -> Tensor:
    return -F.max_pool2d(-images, 3, 1, 1)


def _inverted(images: Tensor, _: Generator) -> Tensor:
    return 1.0 - images


def _brightened(images: Tensor, generator: Generator) -> Tensor:
    """Return images with another curve of brightness: a power, and a smaller range."""
    power = _uniform(images, generator, -_MOST_GAMMA, _MOST_GAMMA).exp()
    ends = [_uniform(images, generator), _uniform(images, generator)]
    shorter = ends[0] + (ends[1] - ends[0]) * images
    return torch.where(_uniform(images, generator) < 0.5, images.clamp(0.0, 1.0) ** power, shorter)


def _noisy(images: Tensor, generator: Generator) -> Tensor:
    size = _MOST_NOISE * _uniform(images, generator)
    return images + size * torch.randn(images.shape, generator=generator)


def _noise(images: Tensor, generator: Generator) -> Tensor:
    return torch.rand(images.shape, generator=generator)


def _constant(images: Tensor, generator: Generator) -> Tensor:
    """Return images of one colour, or of one grey."""
    colour = torch.rand(len(images), images.shape[1], 1, 1, generator=generator)
    is_grey = _uniform(images, generator) < 0.5
    return torch.where(is_grey, colour[:, :1], colour).expand_as(images)


def _smooth_field(images: Tensor, generator: Generator) -> Tensor:
    """Return smooth random planes."""
    points = int(torch.randint(2, 7, (1,), generator=generator))
    coarse = torch.rand(len(images), images.shape[1], points, points, generator=generator)
    return _enlarged(coarse, images)


def _strokes(images: Tensor, generator: Generator) -> Tensor:
    """Return images of a few straight lines on another level, of the two ends of the range or of other values."""
    n, _, height, width = images.shape
    y, x = torch.meshgrid(torch.linspace(-1.0, 1.0, height), torch.linspace(-1.0, 1.0, width), indexing="ij")
    found = torch.zeros(n, 1, height, width)
    for _ in range(int(torch.randint(1, _MOST_STROKES + 1, (1,), generator=generator))):
        first, last = (1.6 * torch.rand(2, n, 2, 1, 1, generator=generator) - 0.8).unbind(0)
        along = last - first
        length = along.square().sum(1).clamp(min=1e-6)
        share = (((x - first[:, 0]) * along[:, 0] + (y - first[:, 1]) * along[:, 1]) / length).clamp(0.0, 1.0)
        far = ((x - first[:, 0] - share * along[:, 0]) ** 2 + (y - first[:, 1] - share * along[:, 1]) ** 2).sqrt()
        thickness = 0.05 + 0.15 * torch.rand(n, 1, 1, generator=generator)
        edge = 2.0 / max(height, width)
        found = torch.maximum(found, ((thickness - far) / edge + 0.5).clamp(0.0, 1.0)[:, None])
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return low + (high - low) * found


def _superposed(images: Tensor, generator: Generator) -> Tensor:
    """Return the larger, the smaller or the mean value of two images at each pixel."""
    other, kind = images.roll(1, 0), int(torch.randint(3, (1,), generator=generator))
    return (torch.maximum(images, other), torch.minimum(images, other), (images + other) / 2.0)[kind]


def _other_channels(images: Tensor, generator: Generator) -> Tensor:
    """Return images with their channels in another order; with one channel, turned ones."""
    if images.shape[1] == 1:
        return _turned(images, generator)
    return images.roll(int(torch.randint(1, images.shape[1], (1,), generator=generator)), 1)


def _strongly_bent(images: Tensor, generator: Generator) -> Tensor:
    return _bent(images, generator, _STRONG_BEND)


def _bent_and_sharpened(images: Tensor, generator: Generator) -> Tensor:
    """Return other shapes with sharp edges: bending alone blurs, and blur is easy to see."""
    return _sharpened(_warped(_bent(images, generator, _STRONG_BEND), generator, 0.2 * math.pi), generator)


def _bent_and_cut(images: Tensor, generator: Generator) -> Tensor:
    return _cut_at_level(_bent(images, generator, _STRONG_BEND), generator)


CORRUPTIONS: dict[str, Corruption] = {
    "turned": _turned,
    "other channels": _other_channels,
    "warped": _warped,
    "bent": _bent,
    "strongly bent": _strongly_bent,
    "bent and sharpened": _bent_and_sharpened,
    "bent and cut at a level": _bent_and_cut,
    "halved": _halved,
    "pasted": _pasted,
    "erased": _erased,
    "shuffled patches": _shuffled_patches,
    "shuffled pixels": _shuffled_pixels,
    "superposed": _superposed,
    "blurred": _blurred,
    "sharpened": _sharpened,
    "cut at a level": _cut_at_level,
    "grown": _grown,
    "shrunk": _shrunk,
    "inverted": _inverted,
    "brightened": _brightened,
    "noisy": _noisy,
    "noise": _noise,
    "constant": _constant,
    "smooth field": _smooth_field,
    "strokes": _strokes,
}
