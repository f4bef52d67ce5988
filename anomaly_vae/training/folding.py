r"""Fold batch normalisation into the convolutions before it: after training it is a fixed scale and shift.

With running mean m, variance v, weight g and bias b, the output of a convolution W x + c becomes

.. math:: s (W x + c - m) + b = (s W) x + s (c - m) + b, \qquad s = g / \sqrt{v + \epsilon}

References:
    Batch Normalization (Ioffe & Szegedy, 2015), https://arxiv.org/abs/1502.03167
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from anomaly_vae.training.convolutions import Residual

__all__ = ["folded"]


@torch.no_grad()
def folded(net: nn.Sequential) -> nn.Sequential:
    """Return the layers without normalisation; they compute what ``net`` computes in eval mode.

    Raises:
        TypeError: A normalisation does not follow a convolution.
    """
    layers: list[nn.Module] = []
    for layer in net:
        if not isinstance(layer, nn.BatchNorm2d):
            layers.append(Residual(folded(layer.body)) if isinstance(layer, Residual) else layer)
            continue
        before = layers.pop() if layers else None
        if not isinstance(before, (nn.Conv2d, nn.ConvTranspose2d)):
            raise TypeError("a normalisation must follow a convolution")
        layers.append(_scaled(before, layer))
    return nn.Sequential(*layers).train(net.training)


def _scaled(layer: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.Module:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("a normalisation must keep running statistics")
    scale = torch.rsqrt(variance.double() + norm.eps) * (1.0 if norm.weight is None else norm.weight.double())
    shift = -mean.double() if layer.bias is None else layer.bias.double() - mean.double()
    bias = scale * shift + (0.0 if norm.bias is None else norm.bias.double())
    found = copy.deepcopy(layer)
    axis = (1, -1, 1, 1) if isinstance(layer, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    found.weight.copy_((layer.weight.double() * scale.reshape(axis)).to(layer.weight.dtype))
    found.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return found
