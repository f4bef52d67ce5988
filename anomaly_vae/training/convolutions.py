"""Convolutional encoder and decoder of windows and images.

A window of T steps is an image of 1 x T pixels, so both kinds have the same layers. Each stage halves the sizes of the
plane in the encoder and doubles them in the decoder; sizes below 4 stay as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import HEADS
from anomaly_vae.columns.layout import Block

__all__ = ["Convolution", "FromPlanes", "Plan", "Residual", "ToPlanes", "conv_decoder", "conv_encoder"]

# Sizes below this are not halved. Chosen, not measured: below it, half a size is a single pixel.
_LEAST_SIZE = 4

# Size of the convolutions in residual blocks, pixels. Chosen, not measured: the usual one.
_RESIDUAL_KERNEL = 3


class Plan(NamedTuple):
    """The sizes of convolutional networks.

    Attributes:
        plane: Height and width of the cells of one channel.
        channels: Channels after each stage of the encoder; the decoder has them in reverse.
        kernel: Size of the convolutions of the stages, pixels; even.
        residual: Whether each stage has a residual block.
        normalise: Whether stages have batch normalisation, which is folded into the convolutions after training.
        dropout: Share of the channels that a training step drops in the encoder's last layer.
        levels: Whether the level of each channel is a dimension of z: see :mod:`anomaly_vae.training.levels`.
    """

    plane: tuple[int, int]
    channels: tuple[int, ...]
    kernel: int = 4
    residual: bool = False
    normalise: bool = False
    dropout: float = 0.0
    levels: bool = False


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, of the shape of x."""
        return torch.add(x, self.body(x))


class ToPlanes(nn.Module):
    """Features in the order of the layout, (N, F), to one plane for each channel, (N, C, H, W).

    Attributes:
        channels: Channels of each block of the layout.
        plane: H and W.
    """

    def __init__(self, blocks: Sequence[Block], plane: tuple[int, int]) -> None:
        super().__init__()
        self.plane = plane
        self.channels = _channels(blocks, plane)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, C, H, W)."""
        height, width = self.plane
        parts = torch.split(x, [height * width * c for c in self.channels], dim=-1)
        sizes = zip(parts, self.channels, strict=True)
        planes = [part.reshape(-1, height, width, channels).movedim(-1, 1) for part, channels in sizes]
        return torch.cat(planes, dim=1)


class FromPlanes(nn.Module):
    """Planes to the parameters of p(x|z) in the order of the layout, with a bias for each of them.

    A block has the parameters of one kind of all cells, then those of the next kind.

    Attributes:
        channels: Channels of each block of the layout.
        repeats: Parameters of a cell in each block.
        plane: H and W.
        bias: Shape (P,).
    """

    def __init__(self, blocks: Sequence[Block], plane: tuple[int, int]) -> None:
        super().__init__()
        self.plane = plane
        self.channels = _channels(blocks, plane)
        self.repeats = tuple(HEADS[block.kind].params_per_feature for block in blocks)
        self.bias = nn.Parameter(torch.zeros(sum(block.num_params for block in blocks)))

    @property
    def planes(self) -> tuple[int, ...]:
        """Planes of each block."""
        return tuple(c * r for c, r in zip(self.channels, self.repeats, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(N, planes, H, W) -> (N, P)."""
        parts = torch.split(x, list(self.planes), dim=1)
        sizes = zip(parts, self.repeats, self.channels, strict=True)
        cells = [p.reshape(-1, r, c, self.plane[0] * self.plane[1]).movedim(2, -1).flatten(1) for p, r, c in sizes]
        return torch.cat(cells, dim=1) + self.bias


class Convolution(NamedTuple):
    """A stage along one axis: n pixels to floor(n / stride), and back."""

    kernel: int
    stride: int
    padding: int

    @classmethod
    def of(cls, size: int, kernel: int) -> Convolution:
        """Return the stage for an axis of this size."""
        if size == 1:
            return cls(1, 1, 0)
        if size < _LEAST_SIZE:
            return cls(3, 1, 1)
        return cls(kernel, 2, kernel // 2 - 1)


def conv_encoder(plan: Plan, num_channels: int, latent_dim: int) -> nn.Sequential:
    """Return the layers from planes of values and masks, (N, 2 C, H, W), to (N, 2 L)."""
    layers: list[nn.Module] = []
    for (width_in, width_out), plane in zip(
        itertools.pairwise((2 * num_channels, *plan.channels)), _planes(plan), strict=False
    ):
        kernel, stride, padding = zip(*(Convolution.of(size, plan.kernel) for size in plane), strict=True)
        layers += [nn.Conv2d(width_in, width_out, kernel, stride, padding), *_normalised(plan, width_out), nn.SiLU()]
        layers += _residual(plan, width_out, (plane[0] // stride[0], plane[1] // stride[1]))
    height, width = _planes(plan)[-1]
    if plan.dropout:
        layers.append(nn.Dropout2d(plan.dropout))
    end = [nn.Flatten(), nn.Linear(plan.channels[-1] * height * width, 2 * latent_dim)]
    return _channels_last(nn.Sequential(*layers, *end))


def conv_decoder(plan: Plan, blocks: Sequence[Block], latent_dim: int) -> nn.Sequential:
    """Return the layers from z, (N, L), to the parameters of p(x|z), (N, P)."""
    out, planes = FromPlanes(blocks, plan.plane), _planes(plan)
    height, width = planes[-1]
    deepest = plan.channels[-1]
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, deepest * height * width),
        nn.SiLU(),
        nn.Unflatten(1, (deepest, height, width)),
    ]
    widths = (*reversed(plan.channels), sum(out.planes))
    stages = list(zip(itertools.pairwise(widths), reversed(planes[1:]), reversed(planes[:-1]), strict=True))
    for i, ((width_in, width_out), before, plane) in enumerate(stages):
        kernel, stride, padding = zip(*(Convolution.of(size, plan.kernel) for size in plane), strict=True)
        extra = (plane[0] % stride[0], plane[1] % stride[1])  # 0 for a stride of 1
        layers += _residual(plan, width_in, before)
        is_last = i == len(stages) - 1
        layers.append(nn.ConvTranspose2d(width_in, width_out, kernel, stride, padding, extra, bias=not is_last))
        layers += [] if is_last else [*_normalised(plan, width_out), nn.SiLU()]
    return _channels_last(nn.Sequential(*layers, out))


def _planes(plan: Plan) -> list[tuple[int, int]]:
    """Return the plane before each stage, and that after the last."""
    planes = [plan.plane]
    for _ in plan.channels:
        height, width = (size // Convolution.of(size, plan.kernel).stride for size in planes[-1])
        planes.append((height, width))
    return planes


def _channels_last(net: nn.Sequential) -> nn.Sequential:
    """Store weights, and so values, with the channels last. Measured: on CPUs, such networks train twice as fast."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return net


def _residual(plan: Plan, channels: int, plane: tuple[int, int]) -> list[nn.Module]:
    if not plan.residual:
        return []
    height, width = (1 if size == 1 else _RESIDUAL_KERNEL for size in plane)
    kernel, padding = (height, width), (height // 2, width // 2)
    convolutions = [nn.Conv2d(channels, channels, kernel, 1, padding) for _ in range(2)]
    nn.init.zeros_(convolutions[1].weight)  # each block starts as the identity
    return [Residual(nn.Sequential(convolutions[0], nn.SiLU(), convolutions[1]))]


def _normalised(plan: Plan, channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if plan.normalise else []


def _channels(blocks: Sequence[Block], plane: tuple[int, int]) -> tuple[int, ...]:
    """Return the channels of each block; raise TypeError for columns with several features."""
    cells = plane[0] * plane[1]
    for block in blocks:
        if set(block.sizes) != {1} or block.num_features % cells:
            raise TypeError(f"the head {block.kind} does not fit the cells of a window or an image")
    return tuple(block.num_features // cells for block in blocks)
