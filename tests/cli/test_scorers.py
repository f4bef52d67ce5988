"""MODEL as a directory or as a service."""

from __future__ import annotations

import pytest

from anomaly_vae.cli.scorers import ServiceOptions, opened_scorer
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import Scorer
from tests.support.running import running

NONE = ServiceOptions(timeout=None, ca=None, cert=None, key=None)


def opened(model, service=NONE, **options):
    return opened_scorer(
        str(model), service, **{"threads": None, "target_fpr": None, "tail": None, "quiet": True} | options
    )


def test_a_directory_and_a_service_with_it_have_the_same_facts(model_path):
    with opened(model_path) as (scorer, facts), running(model_path) as service:
        assert isinstance(scorer, Scorer)
        assert facts["threshold"] == scorer.threshold
        assert facts["bundle_digest"] == scorer.bundle.digest
        with opened(f"grpc://{service.target}") as (client, same):
            assert client.schema.names == scorer.schema.names
            assert same == facts
    with opened(model_path, target_fpr=0.3) as (scorer, facts):
        assert (facts["target_fpr"], facts["threshold"]) == (0.3, scorer.threshold_at(0.3))


@pytest.mark.parametrize(
    ("model", "service", "options", "message"),
    [
        ("grpc://x:1", NONE, {"threads": 2}, "--threads is set by the service; give a directory as MODEL"),
        ("grpcs://x:1", NONE, {"tail": "low"}, "--tail is set by the service"),
        ("model", ServiceOptions(timeout=3.0, ca=None, cert=None, key=None), {}, "--timeout is only for a service"),
        ("http://x:1", NONE, {}, "http://x:1: this is not a model; for a service use grpc://HOST:PORT"),
        ("localhost:50051", NONE, {}, "localhost:50051: this is not a model"),
    ],
)
def test_options_of_the_other_kind_are_refused(model, service, options, message):
    with pytest.raises(ConfigError, match=message), opened(model, service, **options):
        pass
