"""What passes through the layers of a graph: see :mod:`anomaly_vae.training.layer_graphs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

__all__ = ["LayerGraph", "Tangents"]


class Tangents(NamedTuple):
    """The tangents of all rows and latent dimensions.

    Attributes:
        name: The value, (N * L, ...); empty if they are the same in all rows.
        shared: The tangents of every row, (L, H), or None.
    """

    name: str
    shared: Tensor | None = None

    def by_row(self) -> str:
        """Return the name; raise TypeError if the tangents are the same in all rows."""
        if self.shared is not None:
            raise TypeError("a decoder starts with Linear and an activation")
        return self.name


class LayerGraph(Protocol):
    """One layer; the methods are called in this order, ``push`` and ``pull`` only where derivatives are needed."""

    def value(self, value: str, outputs: Sequence[str] = ()) -> str:
        """Add the layer's output."""
        ...

    def push(self, tangents: Tangents) -> Tangents:
        """Add the tangents of the output from those of the input."""
        ...

    def pull(self, slope: str) -> str:
        """Add the slope of the input from that of the output, (N, ...)."""
        ...

    def bends(self) -> list[str]:
        """Return the terms of the curvature that ``pull`` added, (N, L, L) each."""
        ...
