"""Pythae's VAE on images of zeros and ones, for the benchmark images.

    python images_pythae.py JOB.npz ANSWER.npz

The command needs torch, numpy and pythae and nothing of this project, so it runs in a separate environment. The job
holds the arrays train, held_out and test, (N, 1, H, W), and the settings of the job. The answer holds ``log_px``, the
importance-sampled log p(x) of each test image, nats, by pythae's get_nll, and the ``seconds`` of the training.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Settings", "run"]


class Settings(NamedTuple):
    """What pythae trains.

    Attributes:
        latent_dim: L.
        epochs: Passes over the training images; the model of the epoch with the lowest loss on held_out is used.
        samples: Importance samples of each image, a multiple of 100.
        rate: The learning rate of Adam. The default of pythae, 1e-4, needs many more epochs.
        threads: Threads of torch.
        seed: Of weights and batches.
    """

    latent_dim: int
    epochs: int
    samples: int
    rate: float = 1e-3
    threads: int = 1
    seed: int = 0


def run(
    python: Path, train: np.ndarray, held_out: np.ndarray, test: np.ndarray, settings: Settings
) -> tuple[np.ndarray, float]:
    """Return log p(x) of the test images and the seconds of the training; images are (N, H, W).

    Raises:
        RuntimeError: The process failed.
    """
    with tempfile.TemporaryDirectory() as name:
        job, answer = Path(name) / "job.npz", Path(name) / "answer.npz"
        images = {"train": train, "held_out": held_out, "test": test}
        np.savez(job, **{key: of[:, None].astype(np.float32) for key, of in images.items()}, **settings._asdict())
        command = [str(python), "-P", __file__, str(job), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=name)
        if done.returncode != 0:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise RuntimeError(f"pythae failed with code {done.returncode}: {reason}")
        with np.load(answer) as found:
            return found["log_px"], float(found["seconds"])


def work(job: Path, answer: Path) -> None:
    """Train, estimate and write the answer."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    with np.load(job) as arrays:
        train, held_out, test = (torch.tensor(arrays[key]) for key in ("train", "held_out", "test"))
        settings = Settings(**{key: arrays[key].item() for key in Settings._fields})
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    config = VAEConfig(input_dim=tuple(train.shape[1:]), latent_dim=settings.latent_dim, reconstruction_loss="bce")
    plan = BaseTrainerConfig(
        output_dir=str(answer.parent / "pythae"),
        num_epochs=settings.epochs,
        learning_rate=settings.rate,
        seed=settings.seed,
        no_cuda=True,
    )
    sets = [BaseDataset(images, torch.zeros(len(images))) for images in (train, held_out)]
    trainer = BaseTrainer(VAE(config), *sets, training_config=plan)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    [folder] = (answer.parent / "pythae").iterdir()
    vae = VAE.load_from_folder(str(folder / "final_model")).eval()
    with torch.no_grad():
        log_px = [vae.get_nll(image[None], settings.samples) for image in test]
    np.savez(answer, log_px=np.asarray(log_px), seconds=seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path, metavar="JOB.npz")
    parser.add_argument("answer", type=Path, metavar="ANSWER.npz")
    arguments = parser.parse_args()
    work(arguments.job, arguments.answer)
