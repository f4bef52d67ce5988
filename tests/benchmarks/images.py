"""Images of digits with all defaults: what is found, how exact log p(x) is, and how likely other images are.

    python -m tests.benchmarks.images --out FILE.csv [--data FOLDER] [--datasets mnist,digits] [--seeds 0,1]

FOLDER holds mnist/t10k-images-idx3-ubyte.gz and its labels: 8,000 images train, 2,000 are held out. The digits of
scikit-learn need no files. Figures, one line each in FILE.csv:

    auroc            area under the ROC curve by p-value of strange images beside held-out ones, by their kind; turned
                     images do not show 0, 1 and 8, and neither do the held-out ones beside them
    flagged          the share of flags; beside held-out images stands the rate that calibration promises
    bits_per_dim     of the held-out images: minus log2 p(x) for each value of a pixel
    fit_s, rows_per_s
    error, ...       log p(x) beside a long reference with other points, nats, among held-out and strange images: the
                     median and the root mean square of the difference, beside that of the stated standard error, and
                     "outside", the share that differs by more than three standard errors
    binarised        log p(x) of held-out images of zeros and ones, nats an image: ours from one model, and that of
                     pythae's VAE with the same rows, latent dimensions and epochs. Our batches are four times as large
                     as pythae's, so an epoch has a quarter of the steps; a second model has our default steps.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from anomaly_vae.bundle.members import open_members
from anomaly_vae.columns.split import split_of
from anomaly_vae.density.estimator import DensityEstimator, Estimates, Precision
from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Scores
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images
from anomaly_vae.training.noise import sobol_normal
from tests.benchmarks import images_pythae, peers
from tests.benchmarks.images_data import Kind, Pictures, binarised, digits, mnist, strange
from tests.benchmarks.tables import DATA

# The reference: scramblings and points of each, the seed of the points, far from that of the models' own, and the
# standard error at which sampling ends, nats.
_SCRAMBLINGS, _POINTS, _NOISE_SEED, _TARGET_ERROR = 16, 4096, 1000, 0.02

# Sets of points that are compared with the reference.
_SETS = 4

# Standard errors by which few rows may differ from the reference: Student's t with 15 degrees of freedom exceeds 3 in 1
# of 100 cases.
_WIDE = 3.0

# Settings of the comparison with pythae. The epochs are pythae's default.
_LATENT_DIM, _EPOCHS = 10, 100


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        strange: Images of each strange kind.
        reference: Rows that are compared with the reference: half held-out, half strange.
        epochs: Of the comparison with pythae.
        likelihoods: Held-out images of that comparison.
        samples: Importance samples of pythae.
        limit: Further parameters of training, such as fewer steps.
    """

    strange: int = 300
    reference: int = 64
    epochs: int = _EPOCHS
    likelihoods: int = 500
    samples: int = 1000
    limit: Mapping[str, Any] = MappingProxyType({})


class Figures(list[dict[str, Any]]):
    """The lines of the file."""

    def __init__(self, dataset: str, seed: int) -> None:
        super().__init__()
        self._about = {"dataset": dataset, "seed": seed}

    def put(self, figure: str, value: float, kind: str = "", count: int | None = None) -> None:
        """Add a figure: of which kind of images, and of how many."""
        self.append({**self._about, "figure": figure, "kind": kind, "value": float(value), "images": count})


def fit(pictures: Pictures, seed: int, **options: Any) -> tuple[Scorer, float]:
    """Train; return the scorer and the seconds of the fit."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few images calibrate 1 % with two tails
        bundle = train_images(pictures.train, pictures.shape, TrainConfig(random_state=seed, **options)).bundle
    return Scorer(bundle), time.perf_counter() - start


def detection(pictures: Pictures, seed: int, sizes: Sizes) -> Figures:
    """Return the figures of a default model."""
    figures = Figures(pictures.name, seed)
    scorer, seconds = fit(pictures, seed, **sizes.limit)
    figures.put("fit_s", seconds, count=len(pictures.train))
    start = time.perf_counter()
    normal = scorer.score_rows(pictures.held_out)
    figures.put("rows_per_s", len(pictures.held_out) / (time.perf_counter() - start), count=len(pictures.held_out))
    bits = -float(normal.log_px.mean()) / (pictures.shape.num_cells * math.log(2.0))
    figures.put("bits_per_dim", bits, "held out", len(pictures.held_out))
    figures.put("flagged", float(normal.is_anomaly.mean()), "held out", len(pictures.held_out))
    figures.put("flagged", scorer.info["calibration"]["effective_fpr"], "stated")
    kinds = strange(pictures, sizes.strange, seed)
    for name, kind in kinds.items():
        found = scorer.score_rows(kind.rows)
        figures.put("auroc", auroc(normal, found, kind), name, len(kind.rows))
        figures.put("flagged", float(found.is_anomaly.mean()), name, len(kind.rows))
    compare_with_reference(figures, scorer, pictures, kinds, sizes.reference)
    return figures


def auroc(normal: Scores, found: Scores, kind: Kind) -> float:
    """Return the area under the ROC curve by p-value; equal p-values count one half."""
    p_value = np.concatenate([normal.p_value[kind.compared], found.p_value])
    truth = np.repeat([0, 1], [int(kind.compared.sum()), len(kind.rows)])
    return float(roc_auc_score(truth, -p_value))


def compare_with_reference(
    figures: Figures, scorer: Scorer, pictures: Pictures, kinds: dict[str, Kind], count: int
) -> None:
    """Add the differences of log p(x) from a long reference, over several sets of points.

    The rows of one set share its points, so their errors depend on each other.
    """
    each = max(1, count // 2 // len(kinds))
    strange_rows = np.concatenate([kind.rows[:each] for kind in kinds.values()])
    manifest = scorer.bundle.manifest
    members = open_members(manifest.schema, manifest.members, scorer.bundle.files)
    dims = 1 + max(member.latent_dim for member in members)

    def estimate(rows: np.ndarray, points: int, seed: int, precision: Precision) -> Estimates:
        noise = sobol_normal(_SCRAMBLINGS, points, dims, seed=seed)
        return DensityEstimator(members, noise, extra_starts=manifest.estimator.extra_starts).estimate(rows, precision)

    points, long = scorer.num_samples // _SCRAMBLINGS, Precision(_TARGET_ERROR, _SCRAMBLINGS * _POINTS)
    for name, rows in {"held out": pictures.held_out[: count // 2], "strange": strange_rows}.items():
        reference = estimate(rows, _POINTS, _NOISE_SEED, long)
        ours = [estimate(rows, points, _NOISE_SEED + 1 + i, scorer.precision) for i in range(_SETS)]
        difference = np.stack([found.log_px for found in ours]) - reference.log_px
        std_error = np.stack([found.std_error for found in ours])
        wide = np.abs(difference) > _WIDE * np.hypot(std_error, reference.std_error)
        shown = {
            "error": float(np.median(np.abs(difference))),
            "rms_error": float(np.sqrt(np.square(difference).mean())),
            "rms_std_error": float(np.sqrt(np.square(std_error).mean())),
            "rms_reference_std_error": float(np.sqrt(np.square(reference.std_error).mean())),
            "mean_error": float(difference.mean()),
            "outside": float(wide.mean()),
            "reliable": float(np.mean([found.reliable.mean() for found in ours])),
            "samples": float(np.mean([found.num_samples.mean() for found in ours])),
        }
        for figure, value in shown.items():
            figures.put(figure, value, name, len(rows))


def likelihoods(pictures: Pictures, python: Path | None, seed: int, sizes: Sizes) -> Figures:
    """Return log p(x) of binarised images, ours and pythae's."""
    data = binarised(pictures)
    figures = Figures(data.name, seed)
    options = {"search": "off", "latent_dim": _LATENT_DIM, **sizes.limit}
    test = data.held_out[: sizes.likelihoods]
    log_px = {}
    for name, limit in {"ours": {"max_epochs": sizes.epochs}, "ours, default steps": {}}.items():
        scorer, seconds = fit(data, seed, **options, **limit)
        log_px[name] = scorer.score_rows(test).log_px
        figures.put("log_px", float(log_px[name].mean()), name, len(test))
        figures.put("fit_s", seconds, name, len(data.train))
    if python is None:
        return figures
    split = split_of(len(data.train), seed)
    settings = images_pythae.Settings(_LATENT_DIM, sizes.epochs, sizes.samples, seed=seed)
    images = [rows.reshape(-1, *data.shape.plane) for rows in (data.train[split.train], data.train[split.held_out])]
    theirs, seconds = images_pythae.run(python, *images, test.reshape(-1, *data.shape.plane), settings)
    figures.put("log_px", float(theirs.mean()), "pythae", len(test))
    figures.put("fit_s", seconds, "pythae", len(split.train))
    for name, ours in log_px.items():
        difference = ours - theirs
        figures.put("difference", float(difference.mean()), name, len(test))
        figures.put("its std_error", float(difference.std(ddof=1) / math.sqrt(len(test))), name, len(test))
    return figures


def show(records: list[dict[str, Any]]) -> None:
    """Print means over the seeds."""
    console = Console(width=140)
    for dataset in dict.fromkeys(record["dataset"] for record in records):
        table = Table("figure", "of", "value", "images", title=f"Images: {dataset}")
        table.columns[2].justify = table.columns[3].justify = "right"
        chosen = [record for record in records if record["dataset"] == dataset]
        for figure, kind in dict.fromkeys((record["figure"], record["kind"]) for record in chosen):
            same = [record for record in chosen if (record["figure"], record["kind"]) == (figure, kind)]
            count = same[0]["images"]
            value = float(np.mean([record["value"] for record in same]))
            table.add_row(figure, kind, f"{value:,.4g}", "" if count is None else f"{count:,}")
        console.print(table)


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Write one line for each figure."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["dataset", "seed", "figure", "kind", "value", "images"])
        writer.writeheader()
        writer.writerows(records)


def load(names: list[str], folder: Path) -> list[Pictures]:
    """Return the data that there are; say what is missing."""
    found = []
    for name in names:
        if name == "digits":
            found.append(digits())
        elif (folder / "mnist" / "t10k-images-idx3-ubyte.gz").exists():
            found.append(mnist(folder / "mnist"))
        else:
            print(f"mnist is left out: {folder / 'mnist'} has no images; set ANOMALY_VAE_DATA or give --data")
    return found


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure and print; return the records, which ``--out`` saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="default: ANOMALY_VAE_DATA")
    parser.add_argument("--datasets", default="mnist,digits", help="default: %(default)s")
    parser.add_argument("--seeds", default="0", help="for example 0,1,2 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=_EPOCHS, help="of the comparison with pythae")
    parser.add_argument("--only", default="detection,likelihoods", metavar="PARTS", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="a try: 1,000 images, 100 steps, 5 epochs")
    parser.add_argument("--venv", type=Path, help="environment of the peers (default: .venv-peers beside FILE.csv)")
    options = parser.parse_args(arguments)
    names, parts = options.datasets.split(","), options.only.split(",")
    if unknown := {*names} - {"mnist", "digits"} or {*parts} - {"detection", "likelihoods"}:
        parser.error(f"there is no {unknown.pop()!r}")
    sizes = Sizes(epochs=options.epochs)
    if options.quick:
        sizes = Sizes(60, 24, 5, 50, 200, {"max_steps": 100})
    python = None
    if "likelihoods" in parts:
        python = peers.environment(options.venv or options.out.resolve().parent / ".venv-peers")
    records: list[dict[str, Any]] = []
    for pictures in load(names, options.data):
        chosen = pictures.few(1000 if options.quick else None)
        for seed in map(int, options.seeds.split(",")):
            for part in parts:
                print(f"{pictures.name}, seed {seed}: {part}", file=sys.stderr, flush=True)
                if part == "detection":
                    records += detection(chosen, seed, sizes)
                else:
                    records += likelihoods(chosen, python, seed, sizes)
                write(options.out, records)
    show(records)
    return records


if __name__ == "__main__":
    main()
