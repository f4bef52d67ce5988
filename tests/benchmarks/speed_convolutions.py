"""Rows a second of log p(x) of windows and images at a fixed number of samples K, compared with torch.

    python -m tests.benchmarks.speed_convolutions [--only NAMES]

The networks have the sizes that training chooses, and random weights. All contenders have the same weights and rows,
with all cells present, and must give the same log p(x) within its Monte Carlo error before the timing.

    ours         DensityEstimator, every sample from the encoder's proposal
    torch        one pass of the decoder over all rows and samples, in chunks of at most 2 GB
    torch tiles  the same in chunks of as many pairs of row and sample as ours
    floor        the decoder's convolutions and its matrix product alone, in onnxruntime, in the same tiles
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import RAW_LIMIT, ColumnModel, ConditionalHead, GaussianHead
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, Shape, cell_names
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.member import Member
from anomaly_vae.density.network import CallSizes
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.defaults import plan_of, resolve_convolutions
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.vae import VAE
from tests.benchmarks import peers
from tests.benchmarks.floor import ConvolutionFloor
from tests.benchmarks.turns import compare, timed

# K, and threads.
NUM_SAMPLES = 256
THREADS = (1, 2)

# Our rows a second over those of torch, at least, with this number of threads.
TARGET, TARGET_THREADS = 1.5, 2

# The check before the timing: rows, estimates of each row by torch, and samples of our reference.
_CHECK_ROWS, _CHECK_REPEATS, _REFERENCE_SAMPLES = 16, 8, 16_384

# As in the product.
_SCRAMBLINGS = 16

# The least standard deviation of heads whose variance depends on z.
_LEAST_STD = 0.1

# Most bytes of a pass of torch: an input and two outputs of the widest layer. As in tests.benchmarks.peers.
_MOST_BYTES, _LIVE_ARRAYS = 2e9, 3


class Workload(NamedTuple):
    """A kind of rows, whether the variance depends on z, and pairs of row and sample per thread in one timing."""

    name: str
    shape: Shape
    conditional: bool
    pairs: int


WORKLOADS = (
    Workload("windows of 64 steps", SeriesShape(length=64, channels=("x",)), conditional=False, pairs=2**16),
    Workload("windows of 128 steps", SeriesShape(length=128, channels=("x",)), conditional=False, pairs=2**15),
    Workload("images, fixed variance", ImageShape(height=28, width=28), conditional=False, pairs=2**15),
    Workload("images, variance by z", ImageShape(height=28, width=28), conditional=True, pairs=2**15),
)


class Bench:
    """One model and its rows in the form that each contender needs."""

    def __init__(self, workload: Workload) -> None:
        torch.manual_seed(0)
        self.workload, shape = workload, workload.shape
        config = resolve_convolutions(TrainConfig(), shape, num_rows=1000)
        fixed, by_z = GaussianHead(variance="fixed", log_var=0.0), ConditionalHead(floor=_LEAST_STD)
        head = by_z if workload.conditional else fixed
        columns = [ColumnModel(head=head, transform=Standardise(center=0.0, scale=1.0))] * shape.num_cells
        self.vae = VAE(columns, (), int(config.latent_dim), plan=plan_of(config, shape)).eval()
        schema = Schema(columns=tuple(Column(name=n, kind="continuous") for n in cell_names(shape)), shape=shape)
        self.features = Features(schema, columns)
        self.sizes = CallSizes.of_convolutions(shape.num_cells, self.vae.latent_dim)
        self.num_rows = workload.pairs // NUM_SAMPLES
        size = (self.num_rows * max(THREADS), shape.num_cells)
        self.rows = np.random.default_rng(0).normal(size=size).astype(np.float32).astype(np.float64)
        self.x = torch.from_numpy(self.rows).float()
        self.floor = ConvolutionFloor(self.vae.decoder, self.sizes.pairs)

    def ours(self, points: int, threads: int) -> DensityEstimator:
        """Return our estimator without fitted proposals."""
        latent_dim, layout = self.vae.latent_dim, self.features.layout
        network = OnnxNetwork(
            export_graphs(self.vae),
            latent_dim=latent_dim,
            num_features=layout.num_features,
            num_params=layout.num_params,
            call_sizes=self.sizes,
        )
        noise = sobol_normal(_SCRAMBLINGS, points, latent_dim + 1, seed=0)
        return DensityEstimator([Member.of(network, latent_dim, self.features)], noise, threads=threads, adaptive=False)

    @torch.no_grad()
    def whole_batch(self, x: Tensor, pairs: int) -> Tensor:
        """Return log p(x) of rows (N, D), shape (N,), in passes of at most this number of pairs."""
        parts = []
        for rows in x.split(max(1, pairs // NUM_SAMPLES)):
            loc, log_var = (moments[:, None, :] for moments in self.vae.encoder(rows, torch.ones_like(rows)))
            noise = torch.randn(len(rows), NUM_SAMPLES, loc.shape[-1])
            z = loc + torch.exp(0.5 * log_var) * noise
            log_ratio = 0.5 * (noise.square() + log_var - z.square()).sum(dim=-1)
            parts.append((self._log_likelihood(rows[:, None, :], self.vae.decode(z)) + log_ratio).logsumexp(dim=-1))
        return torch.cat(parts) - math.log(NUM_SAMPLES)

    def _log_likelihood(self, x: Tensor, params: Tensor) -> Tensor:
        constant = 0.5 * x.shape[-1] * peers.LOG_2PI
        if not self.workload.conditional:
            return -0.5 * (x - params).square().sum(dim=-1) - constant
        loc, raw = params.chunk(2, dim=-1)
        variance = _LEAST_STD**2 + torch.exp(raw.clamp(-RAW_LIMIT, RAW_LIMIT))
        return -0.5 * (torch.log(variance) + (x - loc).square() / variance).sum(dim=-1) - constant

    @torch.no_grad()
    def most_pairs(self) -> int:
        """Return the pairs of row and sample of one pass of torch."""
        values, widest = torch.zeros(1, self.vae.latent_dim - self.vae.num_levels), 0
        for layer in self.vae.decoder:
            values = layer(values)
            widest = max(widest, values.numel())
        return int(_MOST_BYTES // (4 * _LIVE_ARRAYS * widest))


def check(bench: Bench) -> dict[str, float]:
    """Compare torch's log p(x) with ours at many samples, nats a row; raise RuntimeError if it differs."""
    torch.set_num_threads(max(THREADS))
    estimator = bench.ours(_REFERENCE_SAMPLES // _SCRAMBLINGS, max(THREADS))
    estimates = estimator.estimate_fixed(bench.rows[:_CHECK_ROWS], _REFERENCE_SAMPLES)
    x = bench.x[:_CHECK_ROWS]
    values = [bench.whole_batch(x, bench.most_pairs()).double().numpy() for _ in range(_CHECK_REPEATS)]
    return peers.agreement("torch", np.stack(values), estimates.log_px, float(estimates.std_error.mean()))


def contenders(bench: Bench, threads: int) -> dict[str, Callable[[], float]]:
    """Return the contenders by name; each call is one turn and returns rows a second."""
    count = bench.num_rows * threads
    estimator = bench.ours(NUM_SAMPLES // _SCRAMBLINGS, threads)
    x = bench.x[:count]
    return {
        "ours": timed(count, partial(estimator.estimate_fixed, bench.rows[:count], NUM_SAMPLES)),
        "torch": timed(count, partial(bench.whole_batch, x, bench.most_pairs())),
        "torch tiles": timed(count, partial(bench.whole_batch, x, bench.sizes.pairs)),
        "floor": timed(count, partial(bench.floor.run, count * NUM_SAMPLES, threads)),
    }


def measure(workloads: Sequence[Workload] = WORKLOADS) -> dict[str, Any]:
    """Check and time; return the figures of all cases, and the targets."""
    figures: dict[str, Any] = {"agreement": {}, "cases": []}
    for workload in workloads:
        bench = Bench(workload)
        figures["agreement"][workload.name] = check(bench)
        for threads in THREADS:
            torch.set_num_threads(threads)
            case = {"workload": workload.name, "num_samples": NUM_SAMPLES, "threads": threads}
            figures["cases"].append(case | compare(contenders(bench, threads)))
    found = {c["workload"]: c["ratio"]["torch"] for c in figures["cases"] if c["threads"] == TARGET_THREADS}
    figures["targets"] = [
        {"workload": name, "against": "torch", "wanted": TARGET, "found": ratio, "met": ratio >= TARGET}
        for name, ratio in found.items()
    ]
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print rows a second, ours over theirs, targets, and how well torch agrees."""
    cases, console = figures["cases"], Console(width=160)
    names = list(cases[0]["rows_per_second"])
    title = f"Rows a second with convolutions, K = {NUM_SAMPLES} (ours over theirs)"
    table = Table("rows", "threads", "foreign", *names, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for case in cases:
        ratios = {name: f" ({value:.2f}x)" for name, value in case["ratio"].items()}
        rates = [f"{rate:,.0f}{ratios.get(name, '')}" for name, rate in case["rows_per_second"].items()]
        table.add_row(case["workload"], str(case["threads"]), f"{case['foreign_cores']:.2f}", *rates)
    console.print(table)
    for line in figures["targets"]:
        verdict = "met" if line["met"] else "MISSED"
        console.print(
            f"target for {line['workload']}, {TARGET_THREADS} threads: {line['wanted']}x {line['against']}: "
            f"{line['found']:.2f}x, {verdict}"
        )
    for name, value in figures["agreement"].items():
        size = f"{value['difference']:+.4f} nats a row, standard error {value['std_error']:.4f}"
        console.print(f"torch minus ours for {name}: {size} (mean log p(x) {value['ours']:.3f})")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Check, time and print; return the figures, which the benchmark speed saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help="parts of names, for example 64,images")
    options = parser.parse_args(arguments)
    chosen = [each for each in WORKLOADS if any(part in each.name for part in options.only.split(","))]
    if not chosen:
        parser.error(f"--only: no rows {options.only!r}; there are {', '.join(each.name for each in WORKLOADS)}")
    figures = measure(chosen)
    show(figures)
    return figures


if __name__ == "__main__":
    main()
