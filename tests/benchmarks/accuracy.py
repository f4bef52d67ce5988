"""Error of log p(x) against its cost, for plain Monte Carlo, Sobol points, and Sobol points with fitted proposals.

    python -m tests.benchmarks.accuracy DIR --out FOLDER [--tables cardio,vowels,optdigits,mammography] [--search fast]

DIR holds the ADBench tables as .npz files. Errors are measured against the mean of two references with 65,000 to
500,000 samples a row and model (tests.benchmarks.reference). All rows share their points, so their errors are
correlated. Therefore the error of a row is its root mean square over many sets of points. The largest budget uses a
quarter of the sets.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.special import logsumexp
from scipy.stats import t as student

from anomaly_vae.bundle.members import open_members
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.member import Member
from anomaly_vae.training.noise import sobol_normal
from tests.benchmarks import reference
from tests.benchmarks.accuracy_report import BUDGETS, MAIN_BUDGET, METHODS, draw, show
from tests.benchmarks.adbench import split
from tests.benchmarks.tables import MODELS, SEARCH_HELP, train

# The product's noise: 16 scramblings of 256 points allow budgets up to 4,096 samples.
SCRAMBLINGS, POINTS = 16, 256

# Seed of the first set of points; far from the seed 0 of the trained models' own points.
FIRST_NOISE_SEED = 1000


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


def truth_of(case: Case) -> dict[str, np.ndarray]:
    """Return log p(x) and its standard error, nats, from two independent references, and the difference of the two."""
    found = reference.of_members(case.members, case.rows)
    return {"log_px": found.mean, "std_error": found.error, "difference": found.difference}


def measure(case: Case, noise_sets: int) -> dict[str, dict[int, Measured]]:
    """Measure every method at every budget."""
    measured: dict[str, dict[int, list[Any]]] = {method: {budget: [] for budget in BUDGETS} for method in METHODS}
    for k in range(noise_sets):
        shape = (SCRAMBLINGS, POINTS, case.latent_dim + 1)
        sobol = sobol_normal(*shape, FIRST_NOISE_SEED + k)
        plain = np.random.default_rng(FIRST_NOISE_SEED + k).normal(size=shape).astype(np.float32)
        for method in METHODS:
            estimator = case.estimator(plain if method == "plain" else sobol, adaptive=method == "adaptive")
            for budget in BUDGETS if k < max(noise_sets // 4, 1) else BUDGETS[:-1]:
                e = estimator.estimate_fixed(case.rows, budget)
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
    truth = truth_of(case)
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
