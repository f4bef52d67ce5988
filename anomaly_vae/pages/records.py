"""What a report of a model shows, as plain values: the commands fill them, and the page lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = [
    "Blame",
    "CalibrationFacts",
    "Card",
    "GateFacts",
    "Grid",
    "GridRow",
    "InputFacts",
    "MapFacts",
    "Report",
    "Tile",
    "TrainingCurve",
    "WorstRow",
]

Pairs = Sequence[tuple[str, str]]


class Tile(NamedTuple):
    """A figure in large letters, what it is, and whether it is good news."""

    value: str
    text: str
    mood: Literal["", "good", "bad"] = ""


class GridRow(NamedTuple):
    """A line of a table; ``is_out`` draws it as something that failed or is left out."""

    cells: Sequence[str]
    is_out: bool = False


class Grid(NamedTuple):
    """A table of texts.

    Attributes:
        names: The names of its columns.
        rows: Its lines.
        numbers: Columns whose texts are numbers.
    """

    names: Sequence[str]
    rows: Sequence[GridRow]
    numbers: tuple[int, ...] = ()


class GateFacts(NamedTuple):
    """A release gate: its name, whether the model passed (None: it did not apply), and what was found."""

    name: str
    passed: bool | None
    detail: str


class TrainingCurve(NamedTuple):
    """How the training of a member went.

    Attributes:
        name: Which member it is.
        steps: Steps done at each evaluation.
        training, held_out: The objective on the training batches, and the mean ELBO of the held-out rows, nats.
        best_step, best: The step whose weights were kept, and its ELBO, nats; None if they are not known.
    """

    name: str
    steps: Sequence[int]
    training: Sequence[float]
    held_out: Sequence[float]
    best_step: int | None = None
    best: float | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationFacts:
    """The threshold and its origin.

    Attributes:
        scores: Sorted scores of the calibration rows that do not rank below all others, nats.
        threshold, upper_threshold: Nats; None without an upper one.
        text: How the threshold was found, one sentence or more.
        contrast: Sorted contrasts of calibration images, nats; None without a contrast.
        contrast_threshold: That of the contrast, nats.
    """

    scores: FloatArray
    threshold: float
    upper_threshold: float | None
    text: str
    contrast: FloatArray | None = None
    contrast_threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the model is.

    Attributes:
        purpose: What it is for, a sentence.
        tiles: Its main figures.
        data: What it was trained on.
        columns: The columns, or the channels.
        left_out: Columns of the training table without a part in the model, and why.
        gates: The release gates.
        search: What the search tried; None if it trained one model only.
        curves: How the trainings went; empty for bundles of before.
        calibration: The threshold.
        estimator: How log p(x) is estimated.
        networks: The members of the ensemble.
        origin: Seeds, versions, digests, times.
    """

    purpose: str
    tiles: Sequence[Tile]
    data: Pairs
    columns: Grid
    left_out: Pairs
    gates: Sequence[GateFacts]
    search: Grid | None
    curves: Sequence[TrainingCurve]
    calibration: CalibrationFacts
    estimator: Pairs
    networks: Pairs
    origin: Pairs


class Blame(NamedTuple):
    """A cell that makes a row strange: a part of :class:`anomaly_vae.explained.Why`.

    Attributes:
        column: Its name.
        text: What was found and what was expected.
        excess: Nats above the surprise that is usual for this cell.
        std_error: That of the nats.
        value: Its number; None for texts.
        low, middle, high: The range that is expected given the rest, data units; None for texts.
    """

    column: str
    text: str
    excess: float
    std_error: float = 0.0
    value: float | None = None
    low: float | None = None
    middle: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorstRow:
    """One of the most anomalous rows of the input.

    Attributes:
        name: Its number, its time or its file.
        p_value: None where there is none.
        score, std_error: Nats.
        is_anomaly: Whether it is flagged.
        reason: What training never had; empty if nothing.
        blame: The cells to blame, most to blame first; empty if that is not known.
        window: Steps by channels, shape (T, C); None for tables and images.
        image: Shape (height, width, channels); None for tables and series.
        reconstruction: What the model makes of the image.
        excess: Nats above what is usual for each cell of the window or the image, in its shape; None for tables.
    """

    name: str
    p_value: float | None
    score: float
    std_error: float
    is_anomaly: bool
    reason: str = ""
    blame: Sequence[Blame] = ()
    window: FloatArray | None = None
    image: FloatArray | None = None
    reconstruction: FloatArray | None = None
    excess: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class InputFacts:
    """What was found in a table, in series or in images.

    Attributes:
        path: Where they are.
        tiles: The main figures.
        p_counts: Rows with p-values in equal parts of 0 to 1; None without p-values.
        note: What the p-values and flags can say here, such as about windows that overlap; empty if there is nothing.
        errors: Standard errors of the scores, nats, without those that are not known.
        reliability: How precise the scores are.
        worst: The most anomalous rows, the worst first.
        channels: Names of the channels of windows.
        pixel_range: The values of black and white.
        columns: Names of the columns of ``excess``.
        excess: Nats above what is usual, for the worst rows and the columns, shape (rows, columns); None if not known.
    """

    path: str
    tiles: Sequence[Tile]
    p_counts: Sequence[int] | None
    note: str
    errors: FloatArray
    reliability: Pairs
    worst: Sequence[WorstRow]
    channels: Sequence[str] = ()
    pixel_range: tuple[float, float] = (0.0, 255.0)
    columns: Sequence[str] = ()
    excess: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """Rows in the latent space.

    Attributes:
        points: Places, shape (N, 2).
        score: Nats, shape (N,).
        is_anomaly: Which rows are flagged, shape (N,).
        background: Synthetic rows behind them, shape (M, 2); None if the points are synthetic.
        limits: The least and the largest place on each axis, shape (2, 2); points beyond lie on the edge.
        text: What the points and the axes are.
    """

    points: FloatArray
    score: FloatArray
    is_anomaly: NDArray[np.bool_]
    background: FloatArray | None
    limits: FloatArray
    text: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of a page.

    Attributes:
        title: The name of the model.
        unit: What one row is called: row, window or image.
        card: The model.
        latent: The latent space.
        input: What was found in an input; None without one.
        notes: What the page leaves out, and why.
    """

    title: str
    unit: str
    card: Card
    latent: MapFacts
    input: InputFacts | None
    notes: Sequence[str] = ()
