"""The methods for Arrow batches are the same for every scorer, and cost nothing until they are called."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pyarrow as pa
import pytest

from anomaly_vae.arrow.methods import ScoresArrow
from anomaly_vae.arrow.results import FLAG_SCHEMA, OUTPUT_SCHEMA
from anomaly_vae.batch import ScoreOptions
from anomaly_vae.client import Client
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import Scorer
from tests.support.batches import FakeScorer


class FakeArrow(FakeScorer, ScoresArrow):
    """A scorer whose scores are known."""


def batch():
    return pa.record_batch({"id": [1, 2], "a": [1.5, -3.0], "city": ["Oslo", "Rome"]})


def test_importing_them_does_not_import_pyarrow():
    """A service and a small program start without it."""
    code = "import sys, anomaly_vae.arrow.methods as m; m.ScoresArrow; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_options_are_those_of_scoring_by_keyword_only():
    _, first, keep, *options = inspect.signature(ScoresArrow.score_arrow).parameters.values()
    assert (first.name, keep.name) == ("batch", "keep")
    assert {option.name for option in options} == set(ScoreOptions.__dataclass_fields__)
    assert {option.kind for option in (keep, *options)} == {inspect.Parameter.KEYWORD_ONLY}
    assert issubclass(Scorer, ScoresArrow)
    assert issubclass(Client, ScoresArrow)


def test_every_option_reaches_the_scorer():
    scorer = FakeArrow()
    assert scorer.score_arrow(batch(), target_fpr=0.25)["p_value"].to_pylist() == [0.25, 0.25]
    assert scorer.score_arrow(batch(), flag_only=True, target_fpr=0.25)["is_anomaly"].to_pylist() == [False, True]
    high = pa.record_batch({"a": [7.0], "city": ["Oslo"]})
    assert scorer.score_arrow(high, tail="low")["is_anomaly"].to_pylist() == [False]
    assert scorer.score_arrow(high, tail="both")["is_anomaly"].to_pylist() == [True]
    assert scorer.score_arrow(batch(), keep=["id"])["id"].to_pylist() == [1, 2]
    for options in ({"num_samples": 16}, {"max_std_error": 0.5}):
        with pytest.warns(UserWarning, match="there is no p-value and no flag") as caught:
            scored = scorer.score_arrow(batch(), **options)
        assert [each.filename for each in caught] == [__file__]
        assert scored["p_value"].null_count == scored["is_anomaly"].null_count == 2
    with pytest.raises(ConfigError, match="flag_only decides by the rule of the calibration"):
        scorer.score_arrow(batch(), flag_only=True, num_samples=16)


def test_the_schema_is_known_before_a_row_is_scored():
    scorer = FakeArrow()
    assert scorer.arrow_schema().equals(OUTPUT_SCHEMA)
    assert scorer.arrow_schema(flag_only=True).equals(FLAG_SCHEMA)
    assert scorer.seen == []
