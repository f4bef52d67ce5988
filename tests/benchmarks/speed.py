"""Rows a second of log p(x) at a fixed number of samples K, compared with other implementations.

    python -m tests.benchmarks.speed --out FOLDER

All contenders have the same weights and rows and one model with Gaussian heads. The encoder's inputs are x and a mask
of the cells that are present: here all of them. Before the timing, each must give the same log p(x) within its Monte
Carlo error. The contenders take turns, because the speed of machines drifts; the best turn counts.

    ours            DensityEstimator, every sample from the encoder's proposal
    torch           one pass of the decoder over all rows and samples
    scvi            as scvi-tools: minibatches of 128 rows, one pass of encoder and decoder for every sample (only some
                    samples are timed, because every pass costs the same)
    pythae          VAE.get_nll with all K samples in one block, in a separate process (fewer rows are timed)
    pythae no_grad  the same without recording gradients; get_nll itself does not switch them off
    pythae default  get_nll in its default blocks of 100; it draws whole blocks, so the time is scaled to K
    floor           the decoder's matrix products alone, in onnxruntime, in tiles of 2,048 pairs of row and sample

Then windows and images with convolutions: see tests.benchmarks.speed_convolutions, which is also a command.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import ColumnModel, GaussianHead
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.member import Member
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.vae import VAE
from tests.benchmarks import peers, plots, speed_convolutions
from tests.benchmarks.floor import Floor
from tests.benchmarks.turns import compare, timed

# The cases: K and threads.
NUM_SAMPLES = (64, 256, 1024)
THREADS = (1, 2)

# Targets in one case (model, K, threads): our rows a second over those of the contender.
TARGET_CASE = ("A", 256, 2)
TARGETS = {"pythae": 7.0, "torch": 4.0, "floor": 0.65}

# The check before the timing: rows, samples of an estimate of a peer, its estimates of each row, and samples of our
# reference.
CHECK_ROWS, CHECK_SAMPLES, CHECK_REPEATS, REFERENCE_SAMPLES = 24, 256, 8, 16_384

# As in the product.
_SCRAMBLINGS = 16


class Workload(NamedTuple):
    """Sizes of a model, and pairs of row and sample per thread in one timing: about half a second of our time."""

    name: str
    num_columns: int
    hidden: tuple[int, ...]
    latent_dim: int
    pairs: int

    def rows(self, num_samples: int, threads: int) -> int:
        """Return the rows of one timing: whole blocks for every thread."""
        return max(64, self.pairs // num_samples) * threads

    def __str__(self) -> str:
        hidden = ",".join(map(str, self.hidden))
        return f"{self.name}: D={self.num_columns}, hidden ({hidden}), L={self.latent_dim}"


WORKLOADS = (Workload("A", 30, (128, 128), 8, 2**19), Workload("B", 784, (512, 512), 50, 2**15))


class Bench:
    """One model and its rows in the form that each contender needs, also written to a file."""

    def __init__(self, workload: Workload, path: Path) -> None:
        torch.manual_seed(0)
        self.workload, self.path = workload, path
        # Columns are not transformed, and their variance is 1 as in pythae.
        head, identity = GaussianHead(variance="fixed", log_var=0.0), Standardise(center=0.0, scale=1.0)
        columns = [ColumnModel(head=head, transform=identity)] * workload.num_columns
        self.vae = VAE(columns, workload.hidden, workload.latent_dim)
        names = tuple(Column(name=f"x{d}", kind="continuous") for d in range(workload.num_columns))
        self.features = Features(Schema(columns=names), columns)
        num_rows = max(workload.rows(k, threads) for k in NUM_SAMPLES for threads in THREADS)
        x = np.random.default_rng(0).normal(size=(num_rows, workload.num_columns)).astype(np.float32)
        self.rows, self.x = x.astype(np.float64), torch.from_numpy(x)
        networks = {"encoder": self.vae.encoder.net, "decoder": self.vae.decoder}
        parts = {f"{name}.{key}": p.numpy() for name, net in networks.items() for key, p in net.state_dict().items()}
        np.savez(path, x=x, **parts)
        self.model = peers.Model.of(parts)
        layers = [layer for layer in self.model.decoder if isinstance(layer, torch.nn.Linear)]
        self.floor = Floor([layer.weight.detach().numpy().T for layer in layers])


def _ours(bench: Bench, points: int, threads: int) -> DensityEstimator:
    """Return our estimator without fitted proposals."""
    latent_dim, layout = bench.workload.latent_dim, bench.features.layout
    network = OnnxNetwork(
        export_graphs(bench.vae),
        latent_dim=latent_dim,
        num_features=layout.num_features,
        num_params=layout.num_params,
    )
    noise = sobol_normal(_SCRAMBLINGS, points, latent_dim + 1, seed=0)
    return DensityEstimator([Member.of(network, latent_dim, bench.features)], noise, threads=threads, adaptive=False)


def check(bench: Bench, pythae: peers.Pythae | None) -> dict[str, dict[str, float]]:
    """Compare every contender's log p(x) with ours at many samples, nats a row; raise RuntimeError if one differs."""
    threads = max(THREADS)
    torch.set_num_threads(threads)
    ours = _ours(bench, REFERENCE_SAMPLES // _SCRAMBLINGS, threads)
    estimates = ours.estimate_fixed(bench.rows[:CHECK_ROWS], REFERENCE_SAMPLES)
    # Rows share their points, so their errors may be equal, and the mean of the rows has the same error.
    reference = estimates.log_px, float(estimates.std_error.mean())
    x, repeats, agreements = bench.x[:CHECK_ROWS], range(CHECK_REPEATS), {}
    for name, peer in {"torch": peers.whole_batch, "scvi": peers.pass_per_sample}.items():
        values = [peer(bench.model, x, CHECK_SAMPLES).double().numpy() for _ in repeats]
        agreements[name] = peers.agreement(name, np.stack(values), *reference)
    if pythae:
        values = pythae.run_job(CHECK_ROWS, CHECK_SAMPLES, CHECK_SAMPLES, threads, grad=True, repeats=CHECK_REPEATS)
        agreements["pythae"] = peers.agreement("pythae", values, *reference)
    return agreements


def contenders(
    bench: Bench, pythae: peers.Pythae | None, num_samples: int, threads: int
) -> dict[str, Callable[[], float]]:
    """Return the contenders of one case by name; each call is one turn and returns rows a second."""
    work, model = bench.workload, bench.model
    rows = work.rows(num_samples, threads)
    half, few = rows // 2, max(4, rows // 16)
    passes = work.pairs // (4 * peers.MINIBATCH)
    estimator = _ours(bench, max(NUM_SAMPLES) // _SCRAMBLINGS, threads)
    runs = {
        "ours": timed(rows, partial(estimator.estimate_fixed, bench.rows[:rows], num_samples)),
        "torch": timed(half, partial(peers.whole_batch, model, bench.x[:half], num_samples)),
        "scvi": timed(
            peers.MINIBATCH * passes / num_samples,
            partial(peers.pass_per_sample, model, bench.x[: peers.MINIBATCH], passes),
        ),
        "floor": timed(rows, partial(bench.floor.run, rows * num_samples, threads)),
    }
    if pythae:
        blocks = max(1, num_samples // peers.BLOCK)
        default = few * blocks * peers.BLOCK / num_samples
        run_job = partial(pythae.run_job, few, num_samples, threads=threads)
        runs["pythae"] = lambda: few / float(run_job(num_samples, grad=True))
        runs["pythae no_grad"] = lambda: few / float(run_job(num_samples, grad=False))
        runs["pythae default"] = lambda: default / float(run_job(peers.BLOCK, grad=True))
    return runs


def time_case(bench: Bench, pythae: peers.Pythae | None, num_samples: int, threads: int) -> dict[str, Any]:
    """Return the best rows a second of every contender after a turn to warm up, and ours over theirs."""
    torch.set_num_threads(threads)
    case = {"workload": bench.workload.name, "num_samples": num_samples, "threads": threads}
    return case | compare(contenders(bench, pythae, num_samples, threads))


def targets(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the ratios of one case with the targets."""
    (case,) = (c for c in cases if (c["workload"], c["num_samples"], c["threads"]) == TARGET_CASE)
    ratios = {name: case["ratio"][name] for name in TARGETS if name in case["ratio"]}
    return [{"against": k, "wanted": TARGETS[k], "found": v, "met": v >= TARGETS[k]} for k, v in ratios.items()]


def show(figures: dict[str, Any]) -> None:
    """Print rows a second, ours over theirs, targets, and how well the contenders agree."""
    cases, console = figures["cases"], Console(width=160)
    names = list(cases[0]["rows_per_second"])
    table = Table(*("model", "K", "threads", "foreign"), *names, title="Rows a second (ours over theirs)")
    for column in table.columns[1:]:
        column.justify = "right"
    for case in cases:
        key = (case["workload"], case["num_samples"], case["threads"])
        ratios = {name: f" ({value:.2f}x)" for name, value in case["ratio"].items()}
        rates = [f"{rate:,.0f}{ratios.get(name, '')}" for name, rate in case["rows_per_second"].items()]
        foreign = f"{case['foreign_cores']:.2f}"
        table.add_row(
            *map(str, key),
            foreign,
            *rates,
            style="bold" if key == TARGET_CASE else None,
            end_section=key[1] == NUM_SAMPLES[-1],
        )
    console.print(table)
    for line in figures["targets"]:
        verdict = "met" if line["met"] else "MISSED"
        case = "{}, K={}, {} threads".format(*TARGET_CASE)
        console.print(f"target in {case}: {line['wanted']}x {line['against']}: {line['found']:.2f}x, {verdict}")
    for workload, agreements in figures["agreement"].items():
        for name, value in agreements.items():
            size = f"{value['difference']:+.4f} nats a row, standard error {value['std_error']:.4f}"
            console.print(f"{name} minus ours in {workload}: {size} (mean log p(x) {value['ours']:.3f})")


def chart(path: Path, cases: list[dict[str, Any]]) -> None:
    """Draw bars of rows a second, one panel per model and number of threads."""
    panels: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        workload = next(w for w in WORKLOADS if w.name == case["workload"])
        panel = panels.setdefault(f"{workload}; {case['threads']} thread{'s' * (case['threads'] > 1)}", {})
        for name, rate in case["rows_per_second"].items():
            panel.setdefault(name, []).append(rate)
    groups = [f"K = {k}" for k in NUM_SAMPLES]
    plots.bars(path, panels, groups, title="log p(x) by importance sampling", label="rows a second")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Check, time, print and draw; return the figures saved as ``speed.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--venv", type=Path, help="environment of the peers (default: FOLDER/.venv-peers)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    python = peers.environment(options.venv or options.out / ".venv-peers")
    figures: dict[str, Any] = {"cores": os.cpu_count(), "agreement": {}, "cases": []}
    figures["versions"] = {name: version(name) for name in ("onnxruntime", "torch", "numpy")}
    for workload in WORKLOADS:
        with tempfile.TemporaryDirectory() as name:
            bench = Bench(workload, Path(name) / "model.npz")
            with peers.Pythae(python, bench.path) if python else nullcontext() as pythae:
                figures["agreement"][workload.name] = check(bench, pythae)
                cases = [(k, threads) for threads in THREADS for k in NUM_SAMPLES]
                figures["cases"] += [time_case(bench, pythae, *case) for case in cases]
    figures["targets"] = targets(figures["cases"])
    figures["convolutions"] = speed_convolutions.measure()
    show(figures)
    speed_convolutions.show(figures["convolutions"])
    (options.out / "speed.json").write_text(json.dumps(figures, indent=2, default=float))
    chart(options.out / "speed.png", figures["cases"])
    return figures


if __name__ == "__main__":
    main()
