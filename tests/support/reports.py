"""A report with everything that a page can show, and with hostile texts in every place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anomaly_vae.pages.records import (
    Blame,
    CalibrationFacts,
    Card,
    GateFacts,
    Grid,
    GridRow,
    InputFacts,
    MapFacts,
    Report,
    Tile,
    TrainingCurve,
    WorstRow,
)

__all__ = ["full_report"]


def full_report(text: str = "name", *, columns: int = 2) -> Report:
    """Return a report whose every text is ``text``; its worst rows are one of a table, a window and an image."""
    rng = np.random.default_rng(0)
    pairs = [(text, text)]
    calibration = CalibrationFacts(
        scores=np.sort(rng.normal(size=200)),
        threshold=-2.0,
        upper_threshold=2.0,
        text=text,
        contrast=np.sort(rng.normal(size=200)),
        contrast_threshold=-2.0,
    )
    card = Card(
        purpose=text,
        tiles=[Tile(text, text, "good")],
        data=pairs,
        columns=Grid([text] * 7, [GridRow([text] * 7, is_out=True)] * columns, (2,)),
        left_out=pairs,
        gates=[GateFacts(text, passed, text) for passed in (True, False, None)],
        search=Grid((text, "criterion"), [GridRow((text, "0.9"))], (1,)),
        curves=[TrainingCurve(text, range(50, 1050, 50), np.linspace(-9, -1, 20), np.linspace(-8, -2, 20), 1000, -2.0)],
        calibration=calibration,
        estimator=pairs,
        networks=pairs,
        origin=pairs,
    )
    points = rng.normal(size=(40, 2))
    latent = MapFacts(
        points=points,
        score=rng.normal(size=40),
        is_anomaly=np.arange(40) < 3,
        background=points[:10],
        limits=np.array([[-3.0, -3.0], [3.0, 3.0]]),
        text=text,
    )
    blame = [Blame(text, text, 41.0, 0.5, 12000.0, 80.0, 100.0, 140.0), Blame(text, text, 3.0)]
    worst = WorstRow(
        name=text,
        p_value=0.001,
        score=-76.8,
        std_error=0.03,
        is_anomaly=True,
        reason=text,
        blame=blame,
    )
    window = replace(worst, window=rng.normal(size=(12, 2)), excess=rng.random((12, 2)))
    image, made, excess = rng.random((3, 4, 4, 1))
    worst_rows = [worst, window, replace(worst, image=image, reconstruction=made, excess=excess)]
    found = InputFacts(
        path=text,
        tiles=[Tile(text, text, "bad")],
        p_counts=[9, 5, 5, 4],
        note=text,
        errors=rng.random(30),
        reliability=pairs,
        worst=worst_rows,
        channels=(text, text),
        pixel_range=(0.0, 1.0),
        columns=[text] * columns,
        excess=rng.normal(size=(3, columns)),
    )
    return Report(title=text, unit="row", card=card, latent=latent, input=found, notes=[text])
