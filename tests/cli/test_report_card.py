"""The model card: what the manifest says, in words."""

from __future__ import annotations

import msgspec
import pytest

from anomaly_vae.bundle.files import make_bundle
from anomaly_vae.bundle.manifest import Curve
from anomaly_vae.cli.report_card import _curves, card_of, unit_of
from anomaly_vae.scorer import Scorer
from tests.support.conv_models import image_bundle, series_bundle


def test_the_card_of_a_table(scorer):
    card, manifest = card_of(scorer), scorer.bundle.manifest
    assert card.purpose.startswith("This model finds rows that are unlike the 420 normal rows it was trained on.")
    assert "at most 4.96 % of normal rows." in card.purpose
    assert [row.cells[0] for row in card.columns.rows] == ["pressure", "flow", "valve", "temperature", "unit"]
    pressure, unit = card.columns.rows[0].cells, card.columns.rows[4].cells
    assert pressure[1] == "continuous"
    assert pressure[6].startswith("gaussian")
    assert unit[1:] == ("constant", "always 7", "", "rank lowest", "", "no density")
    assert [gate.name for gate in card.gates] == [gate.name for gate in manifest.training.gates]
    assert dict(card.data)["label column"] == "broken"
    assert dict(card.origin)["digest"] == scorer.bundle.digest
    assert dict(card.origin)["seed"] == "3"
    assert card.search is None, "one model was trained"
    assert card.left_out == []


def test_the_curve_is_marked_where_it_is_best(scorer):
    (curve,) = card_of(scorer).curves
    training = scorer.bundle.manifest.training
    assert curve.best_step == training.best_step
    assert curve.best == pytest.approx(training.held_out_elbo, rel=1e-6)


def test_the_best_step_is_that_of_the_held_out_rows(scorer):
    (candidate,) = scorer.bundle.manifest.training.candidates
    curve = Curve(steps=(50, 100, 150), training=(1.0, 2.0, 3.0), held_out=(1.0, 1.5, 1.2))
    (found,) = _curves((msgspec.structs.replace(candidate, curve=curve),))
    assert (found.best_step, found.best) == (100, 1.5)
    assert _curves((msgspec.structs.replace(candidate, curve=curve, chosen=False),)) == []


def test_a_search_lists_all_models(ensemble_scorer):
    card = card_of(ensemble_scorer)
    assert card.search.names == ("tried", "", "likelihood", "held-out ELBO, nats", "criterion")
    assert [row.cells[2] for row in card.search.rows] == ["student_t", "gaussian"]
    assert [curve.name for curve in card.curves] == ["model 1: likelihood student_t", "model 2: likelihood gaussian"]
    assert " | " in card.columns.rows[0].cells[6], "one head for each member"


def test_a_model_of_before_has_no_curves(scorer):
    manifest = scorer.bundle.manifest
    candidates = tuple(msgspec.structs.replace(each, curve=None) for each in manifest.training.candidates)
    training = msgspec.structs.replace(manifest.training, candidates=candidates)
    bundle = scorer.bundle
    old = make_bundle(
        msgspec.structs.replace(manifest, training=training),
        graphs={name: data for name, data in bundle.files.items() if name.endswith(".onnx")},
        noise=bundle.noise,
        calibration=bundle.calibration,
        golden_rows=bundle.golden_rows,
        golden_log_px=bundle.golden_log_px,
    )
    assert card_of(Scorer(old)).curves == []


def test_the_cards_of_series_and_images():
    series, image = card_of(Scorer(series_bundle())), card_of(Scorer(image_bundle()))
    assert (unit_of(series_bundle().manifest.schema), unit_of(image_bundle().manifest.schema)) == ("window", "image")
    assert [row.cells[0] for row in series.columns.rows] == ["flow", "load"]
    assert any(tile == ("8 × 2", "steps by channels", "") for tile in series.tiles)
    assert any(tile == ("8 × 8", "pixels", "") for tile in image.tiles)
    assert image.calibration.upper_threshold is not None
    assert "above the upper threshold" in image.calibration.text
