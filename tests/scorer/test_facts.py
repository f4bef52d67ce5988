"""What a model says about itself."""

from __future__ import annotations

import anomaly_vae
from tests.support.data import NAMES


def test_info_holds_the_manifest_and_its_digest(scorer):
    assert scorer.info["bundle_digest"] == scorer.bundle.digest
    assert scorer.info["calibration"]["threshold"] == scorer.threshold
    assert scorer.schema.names == NAMES
    assert scorer.schema.label == "broken"


def test_the_text_says_what_the_scorer_is(scorer, ensemble_scorer, model_path):
    start, digest = f"digest='{scorer.bundle.digest[:12]}', columns=5, members=1, ", scorer.bundle.digest
    end = f"threshold={scorer.threshold:.4f}, target_fpr=0.05)"
    assert repr(scorer) == f"Scorer({start}{end}"
    assert repr(anomaly_vae.load(model_path)) == f"Scorer(path='{model_path}', {start}{end}"
    assert "members=2" in repr(ensemble_scorer)
    assert digest.startswith(repr(scorer).split("'")[1])


def test_the_grid_of_p_values_is_that_of_the_calibration(scorer, picture_scorer):
    calibration = scorer.bundle.manifest.calibration
    n, novel = calibration.num_rows, calibration.num_novel
    assert scorer.p_value_grid() == (n, 1 + novel, None)
    assert scorer.p_value_grid(tail="both") == (n, 2, None)
    assert picture_scorer.p_value_grid() == (picture_scorer.bundle.manifest.calibration.num_rows, 2, None)
    assert picture_scorer.p_value_grid(tail="low").smallest == 2  # the contrast
