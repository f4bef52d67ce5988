"""Error of log p(x) against its cost, for plain Monte Carlo, Sobol points, and Sobol points with fitted proposals.

    python -m tests.benchmarks.accuracy DIR --out FOLDER [--tables cardio,vowels,optdigits,mammography] [--search fast]

DIR holds the ADBench tables as .npz files. Errors are measured against a reference of 65,000 to 500,000 samples a row
and model, from a separate mixture proposal. All rows share their points, so their errors are correlated. Therefore the
error of a row is its root mean square over many sets of points. The largest budget uses a quarter of the sets.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.special import logsumexp, softmax
from scipy.stats import t as student

from anomaly_vae.arrays import LOG_2PI
from anomaly_vae.bundle.members import open_members
from anomaly_vae.density import tiles
from anomaly_vae.density.estimator import DensityEstimator, default_threads
from anomaly_vae.density.member import Member
from anomaly_vae.density.modes import find_modes
from anomaly_vae.training.noise import sobol_normal
from tests.benchmarks.accuracy_report import BUDGETS, MAIN_BUDGET, METHODS, draw, show
from tests.benchmarks.adbench import split
from tests.benchmarks.tables import MODELS, SEARCH_HELP, train

# The product's noise: 16 scramblings of 256 points allow budgets up to 4,096 samples.
SCRAMBLINGS, POINTS = 16, 256

# Seed of the first set of points; far from the seed 0 of the trained models' own points.
FIRST_NOISE_SEED = 1000

# Samples: no proposal is fitted at this budget or below, so the adaptive method equals Sobol's.
NO_FIT_BUDGET = 64

# Each of the two references draws rounds of 32,768 samples until its standard error is at most 0.005 nats, 8 rounds at
# most. Chosen: the error is then small against those measured.
ROUND_SAMPLES, MAX_ROUNDS, SMALL_ERROR = 32_768, 8, 0.005

# The reference's search for modes: starts of each of three kinds, Gauss-Newton steps, most modes kept. Chosen larger
# than in the product, so that the reference misses fewer modes.
STARTS, STEPS, MAX_MODES = 8, 40, 6

# Modes are distinct from this distance on, in posterior standard deviations, and kept within this evidence, in nats, of
# the best one.
DISTINCT, NEGLIGIBLE = 0.5, 12.0

# Most samples in one call of log_joint, as in the product.
CALL_SAMPLES = 2048


class Case(NamedTuple):
    """A trained ensemble and N test rows in data units, with a mark for each anomaly."""

    members: list[Member]
    rows: np.ndarray
    is_anomaly: np.ndarray

    @property
    def latent_dim(self) -> int:
        """L, the largest latent dimension of a member."""
        return max(member.latent_dim for member in self.members)

    def estimator(self, noise: np.ndarray, *, adaptive: bool) -> DensityEstimator:
        """Return the product's estimator with these points."""
        return DensityEstimator(self.members, noise, adaptive=adaptive)


class Row(NamedTuple):
    """One row in model units, (F,), with the encoder's loc and scale, (L,)."""

    x: np.ndarray
    mask: np.ndarray
    loc: np.ndarray
    scale: np.ndarray


class Component(NamedTuple):
    """A Gaussian component N(loc, root rootᵀ) of a proposal, with its share of the samples."""

    loc: np.ndarray
    root: np.ndarray
    share: float

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Return log-densities, nats, (S, L) -> (S,)."""
        whitened = (z - self.loc) @ np.linalg.inv(self.root).T
        return -0.5 * (LOG_2PI + whitened**2).sum(axis=-1) - np.linalg.slogdet(self.root)[1]


class Measured(NamedTuple):
    """Estimates over M sets of points: (M, N) each."""

    log_px: np.ndarray
    std_error: np.ndarray
    reliable: np.ndarray
    num_samples: np.ndarray


def prepare(path: Path, most_rows: int, search: str) -> Case:
    """Train on half of the normal rows; choose at most ``most_rows`` other normal and as many anomalous rows."""
    fitted, *tested = split(path, 0)
    bundle = train(fitted, MODELS[search]).bundle
    members = open_members(bundle.manifest.schema, bundle.manifest.members, bundle.files)
    rng = np.random.default_rng(0)
    normal, anomalous = (rng.permutation(rows)[:most_rows] for rows in tested)
    is_anomaly = np.repeat([False, True], [len(normal), len(anomalous)])
    return Case(members, np.concatenate([normal, anomalous]), is_anomaly)


def reference(case: Case) -> dict[str, np.ndarray]:
    """Return log p(x) and its standard error, nats, from two independent references, and the difference of the two.

    The members' references are independent, and so the squares of their errors are added.
    """
    by_member = np.stack([references(member, case.rows) for member in case.members])  # (M, 2 references, N, 2)
    log_px, errors = by_member[..., 0], by_member[..., 1]
    values = logsumexp(log_px, axis=0) - np.log(len(case.members))
    errors = np.sqrt(np.square(softmax(log_px, axis=0) * errors).sum(axis=0))
    return {
        "log_px": np.logaddexp(*values) - np.log(2.0),
        "std_error": np.hypot(*errors) / 2.0,
        "difference": np.abs(values[0] - values[1]),
    }


def references(member: Member, rows: np.ndarray) -> np.ndarray:
    """Return two references of every row under one member in data units, with standard errors, shape (2, N, 2)."""
    inputs = member.features.encode(rows)
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    loc, scale = (values.astype(np.float64) for values in tiles.encode(member.network, x, mask))
    jobs = [(i, seed) for seed in (0, 1) for i in range(len(x))]
    with ThreadPoolExecutor(default_threads()) as pool:
        values = list(pool.map(lambda job: refer(member, Row(*(v[job[0]] for v in (x, mask, loc, scale))), job), jobs))
    result = np.array(values).reshape(2, len(x), 2)
    result[..., 0] += inputs.base
    return result


def refer(member: Member, row: Row, seed: tuple[int, int]) -> tuple[float, float]:
    """Return one reference of one row in model units and its standard error, by importance sampling from a mixture."""
    rng = np.random.default_rng(seed)
    components = mixture(member, row, rng)
    weights = np.empty(0)
    for _ in range(MAX_ROUNDS):
        weights = np.concatenate([weights, log_weights(member, row, components, rng)])
        relative = np.exp(weights - weights.max())
        error = relative.std() / relative.mean() / np.sqrt(len(weights))
        if error <= SMALL_ERROR:
            break
    return float(weights.max() + np.log(relative.mean())), float(error)


def log_weights(member: Member, row: Row, components: list[Component], rng: np.random.Generator) -> np.ndarray:
    """Return the log-weights of one round; the mixture's density has the actual counts of samples as its shares."""
    latent_dim = member.latent_dim
    counts = np.array([max(round(c.share * ROUND_SAMPLES), 1) for c in components])
    drawn = [c.loc + rng.normal(size=(n, latent_dim)) @ c.root.T for c, n in zip(components, counts, strict=True)]
    z = np.concatenate(drawn).astype(np.float32)
    zero = np.zeros((1, latent_dim), dtype=np.float32)
    fixed = (row.x[None], row.mask[None], zero, zero + 1)
    starts = range(0, len(z), CALL_SAMPLES)
    parts = [member.network.log_joint(*fixed, z[k : k + CALL_SAMPLES])[0] for k in starts]
    log_probs = np.stack([c.log_prob(z.astype(np.float64)) for c in components])
    return np.concatenate(parts) - logsumexp(log_probs + np.log(counts / counts.sum())[:, None], axis=0)


def mixture(member: Member, row: Row, rng: np.random.Generator) -> list[Component]:
    """Return components at two widths around every mode, the encoder's proposal, and the prior to bound the weights."""
    loc, scale = row.loc, row.scale
    noise, origin = rng.normal(size=(3, STARTS, len(loc))), np.zeros_like(loc)
    start = np.concatenate([[loc, origin], loc + 1.5 * scale * noise[0], loc + noise[1], 1.3 * noise[2]])
    x, mask = (np.tile(values.astype(np.float64), (len(start), 1)) for values in (row.x, row.mask))
    modes = find_modes(partial(tiles.decode, member.network), member.likelihood, x, mask, start, STEPS)
    kept: list[int] = []
    for k in np.argsort(-modes.log_evidence):
        apart = [np.linalg.norm(modes.inverse_root[j] @ (modes.loc[k] - modes.loc[j])) > DISTINCT for j in kept]
        if all(apart) and modes.log_evidence.max() - modes.log_evidence[k] < NEGLIGIBLE and len(kept) < MAX_MODES:
            kept.append(int(k))
    shares = 0.8 * softmax(modes.log_evidence[kept]) + 0.2 / len(kept)
    around = [
        Component(modes.loc[k], width * modes.root[k], part * share)
        for k, share in zip(kept, shares, strict=True)
        for width, part in ((1.15, 0.6), (2.0, 0.25))
    ]
    return [*around, Component(loc, np.diag(1.5 * scale), 0.1), Component(origin, np.eye(len(loc)), 0.05)]


def measure(case: Case, noise_sets: int) -> dict[str, dict[int, Measured]]:
    """Measure every method at every budget."""
    measured: dict[str, dict[int, list[Any]]] = {method: {budget: [] for budget in BUDGETS} for method in METHODS}
    for k in range(noise_sets):
        shape = (SCRAMBLINGS, POINTS, case.latent_dim)
        sobol = sobol_normal(*shape, FIRST_NOISE_SEED + k)
        plain = np.random.default_rng(FIRST_NOISE_SEED + k).normal(size=shape).astype(np.float32)
        for method in METHODS:
            estimator = case.estimator(plain if method == "plain" else sobol, adaptive=method == "adaptive")
            for budget in BUDGETS if k < max(noise_sets // 4, 1) else BUDGETS[:-1]:
                if method == "adaptive" and budget <= NO_FIT_BUDGET:
                    measured[method][budget].append(measured["sobol"][budget][k])
                else:
                    e = estimator.estimate(case.rows, budget)
                    measured[method][budget].append((e.log_px, e.std_error, e.reliable, e.num_samples))
    return {
        method: {budget: Measured(*map(np.stack, zip(*parts, strict=True))) for budget, parts in by_budget.items()}
        for method, by_budget in measured.items()
    }


def errors(case: Case, truth: dict[str, np.ndarray], measured: Measured) -> dict[str, Any]:
    """Return median and 90 % quantile of the RMSE and the mean evaluations, for normal and anomalous rows."""
    rmse = np.sqrt(np.square(measured.log_px - truth["log_px"]).mean(axis=0))
    out: dict[str, Any] = {"noise_sets": len(measured.log_px)}
    for kind, chosen in (("normal", ~case.is_anomaly), ("anomalies", case.is_anomaly)):
        median, p90 = np.quantile(rmse[chosen], [0.5, 0.9])
        out[kind] = {"median": median, "p90": p90, "evaluations": measured.num_samples[:, chosen].mean()}
    return out


def judge(case: Case, truth: dict[str, np.ndarray], measured: Measured, by_method: dict[str, Any]) -> dict[str, float]:
    """Return the figures that have a target, for the adaptive method at the main budget."""
    bad = case.is_anomaly
    limit = student.ppf(0.9985, SCRAMBLINGS - 1)
    inside = np.abs(measured.log_px - truth["log_px"]) <= limit * np.hypot(measured.std_error, truth["std_error"])
    plain, adaptive = (by_method[method][MAIN_BUDGET] for method in ("plain", "adaptive"))
    return {
        "ratio_on_anomalies": plain["anomalies"]["median"] / adaptive["anomalies"]["median"],
        "p90_on_anomalies": adaptive["anomalies"]["p90"],
        "ratio_on_normal": plain["normal"]["median"] / adaptive["normal"]["median"],
        "inside_on_normal": inside[:, ~bad][np.isfinite(measured.std_error[:, ~bad])].mean(),
        "inside_on_reliable_anomalies": inside[:, bad][measured.reliable[:, bad]].mean(),
        "reliable_anomalies": measured.reliable[:, bad].mean(),
    }


def run_one(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one table."""
    case = prepare(path, options.rows, options.search)
    truth = reference(case)
    measured = measure(case, options.noise_sets)
    by_method = {m: {b: errors(case, truth, part) for b, part in parts.items()} for m, parts in measured.items()}
    adaptive = measured["adaptive"][MAIN_BUDGET]
    # The mean weight is unbiased. Far above the reference, it shows that the reference missed a mode.
    pooled = logsumexp(adaptive.log_px, axis=0) - np.log(len(adaptive.log_px)) - truth["log_px"]
    quality = {
        "standard error": truth["std_error"],
        "difference of two": truth["difference"],
        "pooled minus reference": pooled,
    }
    kinds = {"normal": ~case.is_anomaly, "anomalies": case.is_anomaly}
    return {
        "rows": {kind: int(chosen.sum()) for kind, chosen in kinds.items()},
        "reference": {
            name: {kind: np.quantile(values[chosen], [0.5, 0.9, 1.0]).tolist() for kind, chosen in kinds.items()}
            for name, values in quality.items()
        },
        "rmse": by_method,
        "figures": judge(case, truth, adaptive, by_method),
        "evaluations": adaptive.num_samples.mean(),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure the tables; print, save and draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--noise-sets", type=int, default=20, help="sets of points (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=60, help="most normal rows, and most anomalies, of a table")
    parser.add_argument("--tables", default="cardio,vowels,optdigits,mammography", help="default: %(default)s")
    parser.add_argument("--search", default="off", choices=list(MODELS), help=SEARCH_HELP)
    options = parser.parse_args(arguments)
    paths = {name: next(options.folder.glob(f"*_{name}.npz"), None) for name in options.tables.split(",")}
    if missing := [name for name, path in paths.items() if path is None]:
        parser.error(f"{options.folder}: found no *_{missing[0]}.npz")
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = track(paths.items(), "tables", console=Console(file=sys.stderr))
    results = {name: run_one(path, options) for name, path in jobs}
    show(results, Console(width=160))
    draw(results, options.out / "accuracy.png")
    figures = {"search": options.search, "noise_sets": options.noise_sets, "tables": results}
    (options.out / "accuracy.json").write_text(json.dumps(figures, indent=2, default=float))
    return figures


if __name__ == "__main__":
    main()
