"""Explanations in replies: what they are read as, and what is refused; see test_explanation_messages.py as well."""

from __future__ import annotations

import pytest

from anomaly_vae.client.explanations import check_top, to_explanations
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb


def test_what_a_service_leaves_out_is_none():
    (why,) = to_explanations(pb.ScoreResponse(explanations=[pb.Explanation(why=[pb.Why(column="a")])]), 1)[0]
    for name in ("value", "low", "middle", "high", "levels", "p_value_without", "cell"):
        assert why[name] is None, name


def test_a_reply_with_another_number_of_rows_is_refused():
    with pytest.raises(ServiceError, match="the reply has 1 explanations for 2 rows"):
        to_explanations(pb.ScoreResponse(explanations=[pb.Explanation()]), 2)


def test_the_number_of_columns_is_one_that_the_service_allows():
    model = pb.Model(limits=pb.Limits(max_explain=16))
    assert [check_top(top, model) for top in (1, 16)] == [1, 16]
    for top in (0, 17, 2.0, True, "3"):
        with pytest.raises(ConfigError, match="top must be a whole number from 1 to 16"):
            check_top(top, model)


def test_a_service_of_an_older_release_is_named_as_the_cause():
    with pytest.raises(ConfigError, match="of a release that explains no rows"):
        check_top(3, pb.Model())
