r"""Other implementations of importance-sampled log p(x) with the same weights, for the speed benchmark.

    python peers.py MODEL.npz

The command needs torch, numpy and pythae and nothing of this project, so it runs in a separate environment. It reads
jobs from standard input, one line of JSON each, and writes every answer to the .npz file that the job names.

The model is p(z) = N(0, I), p(x|z) = N(decoder(z), I), and q(z|x) is Gaussian with a diagonal covariance. The encoder's
inputs are x and a mask that is 1 where there is a value: here everywhere.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["BLOCK", "MINIBATCH", "Model", "Pythae", "agreement", "environment", "pass_per_sample", "whole_batch"]

# Samples that get_nll draws at once by default.
BLOCK = 100

# Rows in a pass of scvi-tools.
MINIBATCH = 128

# Most bytes of activations of a whole batch; larger batches are cut into chunks. Chosen, not
# measured: it limits memory, and more chunks need more passes.
_MAX_BYTES = 2e9

# Arrays of the widest layer that exist at the same time: its input, its output, and the output of the SiLU.
_LIVE_ARRAYS = 3

FloatArray = NDArray[np.float64]

LOG_2PI = math.log(2.0 * math.pi)


class Model(NamedTuple):
    """Two perceptrons: x, mask (N, 2D) -> loc and log-variance of q(z|x) (N, 2L), and z (N, L) -> loc (N, D)."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Model:
        """Make the model from arrays with names like ``encoder.0.weight``."""
        return cls(_perceptron(arrays, "encoder"), _perceptron(arrays, "decoder"))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Complete rows (N, D) -> loc, log-variance of q(z|x), (N, L)."""
        return self.encoder(torch.cat([x, torch.ones_like(x)], dim=-1)).chunk(2, dim=-1)


def _perceptron(arrays: Mapping[str, NDArray[np.float32]], name: str) -> nn.Sequential:
    numbers = sorted(int(key.split(".")[1]) for key in arrays if key.startswith(name) and key.endswith(".weight"))
    layers: list[nn.Module] = []
    for number in numbers:
        weight, bias = (torch.tensor(arrays[f"{name}.{number}.{part}"]) for part in ("weight", "bias"))
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1]).eval()


def log_weights(model: Model, x: Tensor, loc: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """Return log p(x, z) - log q(z|x) at z = loc + exp(log_var / 2) noise; axes broadcast, the last is summed."""
    z = loc + torch.exp(0.5 * log_var) * noise
    log_likelihood = -0.5 * (x - model.decoder(z)).square().sum(dim=-1) - 0.5 * x.shape[-1] * LOG_2PI
    return log_likelihood + 0.5 * (noise.square() + log_var - z.square()).sum(dim=-1)


def rows_at_once(model: Model, num_samples: int) -> int:
    """Return how many rows' samples go through the decoder in one pass."""
    widest = max(layer.out_features for layer in model.decoder if isinstance(layer, nn.Linear))
    return max(1, int(_MAX_BYTES // (4 * _LIVE_ARRAYS * widest * num_samples)))


@torch.no_grad()
def whole_batch(model: Model, x: Tensor, num_samples: int) -> Tensor:
    """Return log p(x) of rows (N, D), shape (N,): one pass of the encoder, one of the decoder for all samples."""
    parts = []
    for rows in x.split(rows_at_once(model, num_samples)):
        loc, log_var = (moments[:, None, :] for moments in model.encode(rows))
        noise = torch.randn(len(rows), num_samples, loc.shape[-1])
        parts.append(log_weights(model, rows[:, None, :], loc, log_var, noise).logsumexp(dim=-1))
    return torch.cat(parts) - math.log(num_samples)


@torch.no_grad()
def pass_per_sample(model: Model, x: Tensor, num_samples: int) -> Tensor:
    """Return log p(x) of rows (N, D), shape (N,), as scvi-tools does: it encodes each minibatch for every sample."""
    parts = []
    for rows in x.split(MINIBATCH):
        weights = torch.empty(num_samples, len(rows))
        for k in range(num_samples):
            loc, log_var = model.encode(rows)
            weights[k] = log_weights(model, rows, loc, log_var, torch.randn_like(loc))
        parts.append(weights.logsumexp(dim=0))
    return torch.cat(parts) - math.log(num_samples)


def pythae_vae(model: Model) -> nn.Module:
    """Return pythae's VAE with the same networks; its "mse" is a Gaussian of unit variance, constants included."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.encoder

        def forward(self, x: Tensor) -> ModelOutput:
            loc, log_var = model.encode(x)
            return ModelOutput(embedding=loc, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.decoder

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z))

    columns, latent_dim = model.decoder[-1].out_features, model.decoder[0].in_features
    config = VAEConfig(input_dim=(columns,), latent_dim=latent_dim, reconstruction_loss="mse")
    return VAE(config, Encoder(), Decoder()).eval()


class Job(NamedTuple):
    """A job for the process with pythae; its answer is a file with ``seconds``, or with ``values`` (repeats, rows).

    Attributes:
        rows: Number of rows, from the first on.
        num_samples: Argument of get_nll.
        block: Samples that get_nll draws at once. It draws whole blocks only, as many as fit, at least one.
        threads: Threads of torch.
        grad: Whether torch records gradients.
        repeats: Calls on every single row, for its values; 0 times one call on all rows.
        out: Path of the answer.
    """

    rows: int
    num_samples: int
    block: int
    threads: int
    grad: bool
    repeats: int
    out: str

    def run(self, vae: nn.Module, x: Tensor) -> None:
        """Run the job and write the answer."""
        torch.set_num_threads(self.threads)
        with torch.set_grad_enabled(self.grad):
            if self.repeats:
                rows = [row[None] for row in x[: self.rows]]
                values = [[vae.get_nll(row, self.num_samples, self.block) for row in rows] for _ in range(self.repeats)]
                np.savez(self.out, values=np.asarray(values, dtype=np.float64))
            else:
                start = time.perf_counter()
                vae.get_nll(x[: self.rows], self.num_samples, self.block)
                np.savez(self.out, seconds=time.perf_counter() - start)


class Pythae:
    """The benchmark's side of the process with pythae: sends one job at a time."""

    def __init__(self, python: Path, model: Path) -> None:
        """Start the process with the interpreter of its environment and a file of weights and rows."""
        command = [str(python), "-P", __file__, str(model)]
        self._out = model.with_name("answer.npz")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the process ends at the end of its input

    def run_job(
        self, rows: int, num_samples: int, block: int, threads: int, *, grad: bool, repeats: int = 0
    ) -> NDArray:
        """Send a :class:`Job` and return its answer: seconds, or values."""
        job = Job(rows, num_samples, block, threads, grad, repeats, str(self._out))
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != job.out:
            raise RuntimeError(f"the process with pythae ended with code {self._process.wait()}; see its output above")
        with np.load(self._out) as answer:
            return answer["values" if repeats else "seconds"]


def agreement(name: str, values: FloatArray, reference: FloatArray, reference_error: float) -> dict[str, float]:
    r"""Return the mean difference of a peer's log p(x) (R, N) from ours (N,), nats, and its standard error.

    The R estimates of a row are averaged as densities, which are unbiased. The bias of the logarithm of their mean,
    :math:`-s^2 / 2` with s its standard error, is corrected. No constant is missing on either side: pythae's "mse"
    likelihood includes :math:`\tfrac D2 \log 2\pi`, and the constants of prior and proposal cancel.

    Args:
        name: Name of the peer.
        values: Estimates of the peer.
        reference: Our estimates.
        reference_error: Standard error of the mean of our estimates.

    Raises:
        RuntimeError: The difference is more than five standard errors.
    """
    top = values.max(axis=0)
    density = np.exp(values - top)
    mean = density.mean(axis=0)
    error = density.std(axis=0, ddof=1) / (mean * np.sqrt(len(values)))
    means = top + np.log(mean) + 0.5 * error**2
    difference = float((means - reference).mean())
    own = float(np.sqrt(np.square(error).sum()) / len(mean))
    std_error = float(np.hypot(own, reference_error))
    if not abs(difference) <= 5.0 * std_error:  # also for NaN
        raise RuntimeError(
            f"{name} computes another log p(x): it differs from ours by {difference:+.4f} nats a row, "
            f"standard error {std_error:.4f}, and at most five standard errors are allowed"
        )
    return {
        "difference": difference,
        "std_error": std_error,
        "theirs": float(means.mean()),
        "ours": float(reference.mean()),
    }


def environment(
    folder: Path,
    requirements: str = "peers.txt",
    modules: Sequence[str] = ("pyod", "pythae"),
    options: Sequence[str] = (),
) -> Path | None:
    """Return the interpreter of a virtual environment with peers; create it if needed; None if that fails.

    Args:
        folder: The environment.
        requirements: The file beside this one with the packages.
        modules: What must be importable in it.
        options: Of pip.
    """
    python = folder / "bin" / "python"
    check = [python, "-c", f"import {', '.join(modules)}"]
    if python.exists() and subprocess.run(check, capture_output=True).returncode == 0:
        return python
    packages = Path(__file__).with_name(requirements)
    steps = (
        [sys.executable, "-m", "venv", "--clear", folder],
        [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "60", *options, "-r", packages],
        check,
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            print(f"{' and '.join(modules)}: left out: cannot create the environment {folder}: {reason}")
            return None
    (folder / ".gitignore").write_text("*\n")
    return python


def serve(path: Path) -> None:
    """Run jobs from standard input, one line of JSON each, until it ends; print the path of each answer."""
    with np.load(path) as arrays:
        vae, x = pythae_vae(Model.of(arrays)), torch.tensor(arrays["x"])
    torch.manual_seed(0)
    for line in sys.stdin:
        job = Job(*json.loads(line))
        job.run(vae, x)
        print(job.out, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    serve(parser.parse_args().model)
