"""Likelihood heads in torch: p(x|z) of blocks of columns, with what is learned per column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from msgspec import structs
from torch import Tensor, nn

from anomaly_vae.heads import ColumnModel, GaussianHead, Head
from anomaly_vae.layout import Block, Layout
from anomaly_vae.likelihood import LOGIT_LIMIT, RAW_LIMIT
from anomaly_vae.transforms import Standardise

__all__ = ["STD_FLOOR", "TableHead", "grid_floor"]

# Smallest standard deviation of a column given z, in standard deviations of the column: without a floor the density
# of a column that the decoder predicts exactly runs to infinity.
STD_FLOOR = 0.05

# Logistic distributions have standard deviations of pi / sqrt(3) scales.
_LOGISTIC = math.sqrt(3.0) / math.pi

_LOG_2PI = math.log(2.0 * math.pi)


def grid_floor(column: ColumnModel) -> float:
    """Smallest standard deviation of a column given z, model units: half a step, where its values lie on a grid."""
    step: float | None = getattr(column.head, "step", None)
    if step is None or not isinstance(column.transform, Standardise):
        return STD_FLOOR
    return max(STD_FLOOR, 0.5 * step / column.transform.scale)


class TableHead(nn.Module):
    """The heads of a table's columns; the decoder's output is (..., P), laid out by :class:`Layout`."""

    def __init__(self, columns: Sequence[ColumnModel]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.layout = Layout(columns)
        self.parts = nn.ModuleList(
            _HEADS[block.kind](block, [grid_floor(columns[int(d)]) for d in block.columns])
            for block in self.layout.blocks
        )

    def log_prob(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """log p(x|z) summed over the columns the mask keeps, (..., F) -> (...,)."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for block, part in self._pairs():
            total = total + part(x[..., block.features], params[..., block.params], mask[..., block.features])
        return total

    def base(self, x: Tensor, mask: Tensor) -> Tensor:
        """The part of :meth:`log_prob` that z has no say in, which exported networks leave out; (..., F) -> (...,)."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for block, part in self._pairs():
            if isinstance(part, Count):
                total = total + (part.base(x[..., block.features]) * mask[..., block.features]).sum(dim=-1)
        return total

    def start(self, x: Tensor, mask: Tensor) -> Tensor:
        """The decoder's output under which columns have their marginals of rows (N, F), shape (P,)."""
        mean = (x * mask).sum(0) / mask.sum(0).clamp(min=1.0)
        start = torch.zeros(self.layout.num_params, dtype=x.dtype, device=x.device)
        for block, part in self._pairs():
            if block.kind == "bernoulli":
                start[block.params] = torch.logit(mean[block.features].clamp(1e-3, 1 - 1e-3))
            elif block.kind == "categorical":
                start[block.params] = torch.log(mean[block.features].clamp(min=1e-3))
            elif block.kind == "count":
                start[block.params] = (
                    torch.log(mean[block.features].clamp(min=1e-3)) - part.learned()["log_dispersion"].detach()
                )
        return start

    def _pairs(self) -> Iterator[tuple[Block, _Part]]:
        for block, part in zip(self.layout.blocks, self.parts, strict=True):
            if isinstance(part, _Part):
                yield block, part

    def column_models(self) -> tuple[ColumnModel, ...]:
        """The columns with what was learned."""
        found = list(self.columns)
        for block, part in self._pairs():
            for d, head in zip(block.columns, part.heads(), strict=True):
                found[d] = structs.replace(self.columns[d], head=head)
        return tuple(found)


class _Part(nn.Module):
    """The heads of one block."""

    floor: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("floor", torch.tensor(list(floors)))

    def _values(self, name: str) -> Tensor:
        return torch.tensor([float(getattr(head, name)) for head in self.block.heads])

    def heads(self) -> list[Head]:
        """The heads with what was learned."""
        learned = {name: values.detach().double().tolist() for name, values in self.learned().items()}
        return [
            structs.replace(head, **{name: values[i] for name, values in learned.items()})
            for i, head in enumerate(self.block.heads)
        ]

    def learned(self) -> dict[str, Tensor]:
        """By field of the head, one value per column."""
        return {}


class Gaussian(_Part):
    """N(loc(z), exp(log_var)), one variance per column: learned, or given."""

    free: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        given = [isinstance(head, GaussianHead) and head.variance == "fixed" for head in block.heads]
        self.register_buffer("free", ~torch.tensor(given))
        self.raw_log_var = nn.Parameter(self._values("log_var"))

    @property
    def log_var(self) -> Tensor:
        """Log-variances, shape (G,)."""
        return torch.where(self.free, torch.log(self.floor**2 + torch.exp(self.raw_log_var)), self.raw_log_var.detach())

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        log_var = self.log_var
        terms = _LOG_2PI + log_var + (x - params) ** 2 * torch.exp(-log_var)
        return -0.5 * (terms * mask).sum(dim=-1)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`_Part`."""
        return {"log_var": self.log_var}


class Conditional(_Part):
    """N(loc(z), floor^2 + exp(raw(z)))."""

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        loc, raw = params.chunk(2, dim=-1)
        variance = self.floor**2 + torch.exp(raw.clamp(-RAW_LIMIT, RAW_LIMIT))
        terms = _LOG_2PI + torch.log(variance) + (x - loc) ** 2 / variance
        return -0.5 * (terms * mask).sum(dim=-1)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`_Part`."""
        return {"floor": self.floor}


class StudentT(_Part):
    """Student's t around loc(z), scale and degrees of freedom learned per column."""

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.raw_log_scale = nn.Parameter(self._values("log_scale"))
        self.raw_freedom = nn.Parameter(torch.log(self._values("freedom") - 2.0))

    @property
    def log_scale(self) -> Tensor:
        """Shape (G,)."""
        return 0.5 * torch.log(self.floor**2 + torch.exp(2.0 * self.raw_log_scale))

    @property
    def freedom(self) -> Tensor:
        """Shape (G,), between 2 and about 100."""
        return 2.0 + torch.exp(self.raw_freedom.clamp(-4.0, 4.6))

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        log_scale, nu = self.log_scale, self.freedom
        constant = torch.lgamma(0.5 * (nu + 1.0)) - torch.lgamma(0.5 * nu) - 0.5 * torch.log(nu * math.pi) - log_scale
        far = torch.log1p((x - params) ** 2 * torch.exp(-2.0 * log_scale) / nu)
        return ((constant - 0.5 * (nu + 1.0) * far) * mask).sum(dim=-1)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`_Part`."""
        return {"log_scale": self.log_scale, "freedom": self.freedom}


class Logistic(_Part):
    """A logistic distribution around loc(z) in cells of the column's grid, scale learned per column."""

    cell: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.raw_log_scale = nn.Parameter(self._values("log_scale"))
        self.register_buffer("cell", self._values("cell"))

    @property
    def log_scale(self) -> Tensor:
        """Shape (G,)."""
        return torch.log(STD_FLOOR * _LOGISTIC + torch.exp(self.raw_log_scale))

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        scale = torch.exp(self.log_scale)
        middle, half = (x - params) / scale, 0.5 * self.cell / scale
        constant = torch.log(-torch.expm1(-2.0 * half))
        terms = constant - nn.functional.softplus(-middle - half) - nn.functional.softplus(middle - half)
        return (terms * mask).sum(dim=-1)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`_Part`."""
        return {"log_scale": self.log_scale}


class Bernoulli(_Part):
    """P(x = 1) = sigmoid(logit(z))."""

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        logits = params.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        return ((x * logits - nn.functional.softplus(logits)) * mask).sum(dim=-1)


class Count(_Part):
    """Negative binomial, dispersion learned per column."""

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.raw_log_dispersion = nn.Parameter(self._values("log_dispersion"))

    @property
    def log_dispersion(self) -> Tensor:
        """Shape (G,)."""
        return self.raw_log_dispersion.clamp(-5.0, 10.0)

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        logits, r = params.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), torch.exp(self.log_dispersion)
        terms = self.base(x) + x * logits - (x + r) * nn.functional.softplus(logits)
        return (terms * mask).sum(dim=-1)

    def base(self, x: Tensor) -> Tensor:
        """What depends on the dispersion, not on z, (..., G)."""
        r = torch.exp(self.log_dispersion)
        return torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1.0)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`_Part`."""
        return {"log_dispersion": self.log_dispersion}


class Categorical(_Part):
    """softmax(logits(z)) of each column; x is 1 at its category."""

    members: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        place = torch.repeat_interleave(torch.arange(len(block.sizes)), torch.tensor(block.sizes))
        self.register_buffer("members", nn.functional.one_hot(place, len(block.sizes)).float())
        self.starts = block.starts.tolist()

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`TableHead.log_prob`."""
        logits = params.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        log_total = torch.log(torch.exp(logits) @ self.members)
        return (x * logits * mask).sum(dim=-1) - (log_total * mask[..., self.starts]).sum(dim=-1)


_HEADS: dict[str, type[_Part]] = {
    "gaussian": Gaussian,
    "conditional": Conditional,
    "student_t": StudentT,
    "logistic": Logistic,
    "bernoulli": Bernoulli,
    "count": Count,
    "categorical": Categorical,
}
