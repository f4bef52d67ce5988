"""References of log p(x) for the benchmarks: two independent estimates of each row with many samples.

This is the only module of the references that knows the package: it needs the decoder, p(x|z) with slope and
curvature, and the conversion of rows. The two estimates differ in how they find the modes of p(z|x), in their
proposals and in their points:

    modes      Gauss-Newton climbs from prior points; Gaussian components (reference_modes)
    tempered   particles that move from the prior to p(z|x); Student's t components (reference_tempered)

Both add the prior to their proposal. They use neither the encoder nor the graph log_joint.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax
from threadpoolctl import threadpool_limits

from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.bundle.members import open_members
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.density import tiles
from anomaly_vae.density.member import Member
from anomaly_vae.density.prior import MixturePrior
from tests.benchmarks.reference_modes import Expansion, mode_components
from tests.benchmarks.reference_sampling import importance_log_prob
from tests.benchmarks.reference_tempered import tempered_components

__all__ = ["References", "decoder_shapes", "of_bundle", "of_members"]

# The references by name, in the order of arrays.
METHODS = ("modes", "tempered")

# Points of the prior, half of them wider by the factor, that are decoded once for a member. Chosen, not measured: more
# points miss fewer modes.
PRIOR_POINTS, PRIOR_WIDTH = 8192, 1.4

# Step of finite differences, in units of max(1, |z|), and the largest absolute coordinate of z. The decoder is float32:
# a smaller step has a larger rounding error.
STEP, MAX_Z = 0.01, 1e6

# Points at which earlier references are compared. Two are enough to tell other networks.
PROBE_POINTS = 2

# The references agree where they differ by at most 0.05 nats plus 3 standard errors, and the mean of the two has a
# standard error of at most 0.05 nats.
MOST_DIFFERENCE, STANDARD_ERRORS, MOST_ERROR = 0.05, 3.0, 0.05


class References(NamedTuple):
    """log p(x) of N rows by both references, nats in data units.

    Attributes:
        log_px, std_error: Shape (2, N), in the order of METHODS.
    """

    log_px: np.ndarray
    std_error: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The logarithm of the mean of both estimates of p(x), shape (N,)."""
        return np.logaddexp(*self.log_px) - np.log(2.0)

    @property
    def error(self) -> np.ndarray:
        """The standard error of the mean, shape (N,)."""
        return np.hypot(*self.std_error) / 2.0

    @property
    def difference(self) -> np.ndarray:
        """The absolute difference of the two, shape (N,)."""
        return np.abs(self.log_px[0] - self.log_px[1])

    @property
    def agreed(self) -> np.ndarray:
        """Whether the two agree within their errors, shape (N,)."""
        within = self.difference <= MOST_DIFFERENCE + STANDARD_ERRORS * np.hypot(*self.std_error)
        return within & (self.error <= MOST_ERROR)


class _Target:
    """p(x, z) of one row under one member, in model units."""

    def __init__(self, member: Member, x: np.ndarray, mask: np.ndarray) -> None:
        """Take a row (F,) and which of its cells are present."""
        self._member, self._x, self._mask = member, x, mask

    def log_joint(self, z: np.ndarray) -> np.ndarray:
        """Return log p(x, z), nats, (S, L) -> (S,); minus infinity where it is not a number."""
        z = np.clip(z, -MAX_Z, MAX_Z)
        return self.log_joint_of(z, tiles.decode(self._member.network, z))

    def log_joint_of(self, z: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Return log p(x, z) of points whose decoder output is known, (S, L), (S, P) -> (S,)."""
        with np.errstate(all="ignore"):  # far points may overflow
            values = self._member.likelihood.log_prob(self._x, self._mask, params) + self._member.prior.log_prob(z)
        return np.nan_to_num(values, nan=-np.inf, posinf=-np.inf)

    def expand(self, z: np.ndarray) -> Expansion:
        """Expand log p(x, z) with the decoder's Jacobian by forward differences; see Curved."""
        latent_dim = z.shape[1]
        z = np.clip(z, -MAX_Z, MAX_Z)
        steps = np.eye(latent_dim) * (STEP * np.maximum(1.0, np.abs(z)))[:, None, :]
        stencil = np.concatenate([z[:, None, :], z[:, None, :] + steps], axis=1)
        stencil = stencil.astype(np.float32).astype(np.float64)  # the values that the float32 decoder gets
        params = tiles.decode(self._member.network, stencil.reshape(-1, latent_dim))
        params = params.reshape(len(z), latent_dim + 1, -1)
        taken = np.einsum("sll->sl", stencil[:, 1:]) - stencil[:, 0]
        jacobian = (params[:, 1:] - params[:, :1]) / taken[:, :, None]
        likelihood, centre = self._member.likelihood, params[:, 0]
        x, mask = (np.broadcast_to(values, (len(z), len(values))) for values in (self._x, self._mask))
        with np.errstate(all="ignore"):  # far points may overflow
            information = likelihood.information(x, mask, centre)
            pull, precision = _prior_expansion(self._member, stencil[:, 0])
            hessian = np.einsum("slp,sp,skp->slk", jacobian, information, jacobian) + precision
            gradient = (jacobian * likelihood.slope(x, mask, centre)[:, None, :]).sum(axis=-1) + pull
        usable = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1)
        return Expansion(
            self.log_joint_of(stencil[:, 0], centre),
            np.where(usable[:, None], gradient, 0.0),
            np.where(usable[:, None, None], hessian, np.eye(latent_dim)),
        )


def _prior_expansion(member: Member, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of log p(z), and a positive definite curvature: (S, L) -> (S, L), (S, L, L)."""
    prior, identity = member.prior, np.eye(z.shape[1])
    if not isinstance(prior, MixturePrior):
        return -z, np.broadcast_to(identity, (len(z), *identity.shape))
    loc, precision = np.array(prior.loc), np.exp(-2.0 * np.array(prior.log_scale))
    steps = precision * (loc - z[:, None])
    terms = np.array(prior.log_weights) + 0.5 * np.log(precision).sum(-1) - 0.5 * (steps**2 / precision).sum(-1)
    shares = softmax(terms, axis=1)
    return (shares[:, :, None] * steps).sum(axis=1), (shares @ precision)[:, :, None] * identity


def of_bundle(path: Path, table: Any, cache: Path | None = None) -> References:
    """Return the references of rows under the networks of a bundle.

    Args:
        path: The bundle.
        table: Rows in any form that scoring accepts.
        cache: A file with earlier references, which are used if they are of the same rows and networks. Otherwise it
            is written.
    """
    bundle = read_bundle(path)
    members = open_members(bundle.manifest.schema, bundle.manifest.members, bundle.files)
    rows = to_rows(table, bundle.manifest.schema)
    probe = _probe(members, rows)
    if cache and cache.exists():
        with np.load(cache) as saved:
            if saved["probe"].shape == probe.shape and np.allclose(saved["probe"], probe, rtol=1e-3, atol=1e-3):
                return References(saved["log_px"], saved["std_error"])
    references = of_members(members, rows)
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, probe=probe, **references._asdict())
    return references


def _probe(members: Sequence[Member], rows: np.ndarray) -> np.ndarray:
    """Return log p(x, z) of every row at a few points under every member: equal for equal rows and networks."""
    values = []
    for member in members:
        inputs = member.features.encode(rows)
        z = np.random.default_rng(0).normal(size=(PROBE_POINTS, member.latent_dim))
        params = tiles.decode(member.network, z)
        for x, mask, base in zip(*inputs, strict=True):
            values.append(_Target(member, x, mask).log_joint_of(z, params) + base)
    return np.concatenate(values)


def of_members(members: Sequence[Member], rows: np.ndarray) -> References:
    """Return the references of rows (N, D) in data units under an ensemble.

    The members' estimates are independent, and so the squares of their errors are added.
    """
    by_member = np.stack([_of_member(member, rows) for member in members])  # (M, 2 references, N, 2)
    log_px, errors = by_member[..., 0], by_member[..., 1]
    return References(
        logsumexp(log_px, axis=0) - np.log(len(members)),
        np.sqrt(np.square(softmax(log_px, axis=0) * errors).sum(axis=0)),
    )


def _of_member(member: Member, rows: np.ndarray) -> np.ndarray:
    """Return both references of every row under one member in data units, with standard errors, shape (2, N, 2)."""
    inputs = member.features.encode(rows)
    prior_points = member.prior.draw(PRIOR_POINTS, member.latent_dim, np.random.default_rng(0))
    centre, scale = prior_points.mean(axis=0), prior_points.std(axis=0)
    prior_points[PRIOR_POINTS // 2 :] = centre + PRIOR_WIDTH * (prior_points[PRIOR_POINTS // 2 :] - centre)
    params = tiles.decode(member.network, prior_points)

    def refer(job: tuple[int, int]) -> tuple[float, float]:
        method, i = job
        target, rng = _Target(member, inputs.x[i], inputs.mask[i]), np.random.default_rng(job)

        def scaled(u: np.ndarray) -> np.ndarray:
            """The density of p(x, z) at z = centre + scale u: the particles start from N(0, I)."""
            return target.log_joint(centre + scale * u) + np.log(scale).sum()

        if METHODS[method] == "modes":
            components = mode_components(target, prior_points, target.log_joint_of(prior_points, params), rng)
        else:
            return importance_log_prob(scaled, tempered_components(scaled, member.latent_dim, rng), rng)
        return importance_log_prob(target.log_joint, components, rng)

    jobs = [(method, i) for method in range(len(METHODS)) for i in range(len(rows))]
    # One thread a row: on two cores, the threads of BLAS and OpenMP made a row 10 times slower.
    with threadpool_limits(1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        values = np.array(list(pool.map(refer, jobs))).reshape(len(METHODS), len(rows), 2)
    values[..., 0] += inputs.base
    return values


def decoder_shapes(path: Path) -> list[list[tuple[int, int]]]:
    """Return inputs and outputs of the decoder's layers, for each member of a bundle."""
    bundle = read_bundle(path)
    members = open_members(bundle.manifest.schema, bundle.manifest.members, bundle.files)
    shapes = []
    for record, member in zip(bundle.manifest.members, members, strict=True):
        widths = [member.latent_dim, *reversed(record.architecture.hidden), member.features.layout.num_params]
        shapes.append(list(itertools.pairwise(widths)))
    return shapes
