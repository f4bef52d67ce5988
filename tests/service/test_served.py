"""The served model: its options, what it computes, and the line of its start."""

import numpy as np
import pytest

from anomaly_vae.score_options import ScoreOptions
from tests.support.served import DIGEST, served_model


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((), {}, ScoreOptions(num_samples=1_024)),
        ((0,), {}, ScoreOptions(num_samples=1_024)),
        ((1_024,), {}, ScoreOptions(num_samples=1_024)),
        ((64,), {"max_std_error": 0.5}, ScoreOptions(num_samples=64, max_std_error=0.5)),
        ((), {"flag_only": True}, ScoreOptions(flag_only=True)),
        ((1_024,), {"flag_only": True}, ScoreOptions(flag_only=True)),
    ],
)
def test_requests_for_the_same_computation_have_equal_options(arguments, options, expected):
    """Rows with equal options may share a batch."""
    assert served_model().options(*arguments, **options) == expected


def test_the_options_decide_what_the_scorer_computes():
    calls = []
    served = served_model(
        score_rows=lambda rows, **options: calls.append(("scores", rows, options)),
        flag_rows=lambda rows, **options: calls.append(("flags", rows, options)),
    )
    rows = np.zeros((1, 5))
    served.compute(rows, ScoreOptions(num_samples=64, max_std_error=0.5))
    served.compute(rows, ScoreOptions(flag_only=True))
    assert [name for name, _, _ in calls] == ["scores", "flags"]
    assert all(found is rows for _, found, _ in calls)
    assert calls[0][2] == {"num_samples": 64, "max_std_error": 0.5, "target_fpr": None, "tail": None}
    assert calls[1][2] == {"target_fpr": None, "tail": None}


def test_a_served_model_is_known_by_its_name_and_version_and_by_its_digest():
    assert (served_model().key, served_model().digest) == (("model", "3"), DIGEST)
