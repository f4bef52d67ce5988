"""An evaluation puts the parts together, and serialises."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly_vae.assessment import evaluate
from anomaly_vae.assessment.operating_points import RateOrReason
from anomaly_vae.assessment.slices import slicing_of
from tests.support.assessed import conformal, judged_of, promise_for


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(0)
    p_value = np.concatenate([conformal(rng, 300), conformal(rng, 40) ** 4])
    order = rng.permutation(340)
    return judged_of(p_value[order]), np.repeat([False, True], [300, 40])[order]


def test_every_part_is_there_and_becomes_json(example):
    judged, labels = example
    done = []
    found = evaluate(
        judged,
        labels,
        promise_for(),
        rates=[RateOrReason(0.001, None, "too few"), RateOrReason(0.1, promise_for(0.1))],
        slicings=[slicing_of("c", ["x", "y"] * 170)],
        resamples=100,
        on_resamples=done.append,
    )
    assert (found.rows, found.anomalies, sum(done)) == (340, 40, 100)
    assert found.auroc.value == pytest.approx(roc_auc_score(labels, -judged.p_value))
    assert found.average_precision.value == pytest.approx(average_precision_score(labels, -judged.p_value))
    assert found.auroc.low < found.auroc.value < found.auroc.high
    assert found.decision.false_positives == found.verdict.found
    assert found.decision.false_positives.count == (judged.flags & ~labels).sum()
    assert [point.target_fpr for point in found.points] == [0.001, 0.1]
    assert [each.value for each in found.slices] == ["x", "y"]
    assert {name: each.rows for name, each in found.reliability.items()} == {"all": 340, "normal": 300, "anomalous": 40}
    facts = json.loads(json.dumps(msgspec.to_builtins(found), allow_nan=False))
    assert len(facts["roc"]["x"]) == len(facts["roc"]["y"]) <= 200


def test_rows_that_rank_lowest_count_before_their_p_value(example):
    judged, labels = example
    perfect = judged._replace(ranks_lowest=labels)
    assert evaluate(perfect, labels, promise_for(), resamples=10).auroc.value == 1.0


def test_with_one_label_only_the_promise_is_checked(example):
    judged, _ = example
    found = evaluate(judged, np.zeros(340, dtype=bool), promise_for(), resamples=10)
    assert found.auroc is found.average_precision is found.roc is found.precision_recall is None
    assert found.verdict.outcome in ("chance", "broken")
    found = evaluate(judged, np.ones(340, dtype=bool), promise_for(), resamples=10)
    assert (found.verdict.outcome, found.auroc) == ("unknown", None)
    assert found.decision.recall.total == 340
