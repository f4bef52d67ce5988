"""Which models are trained, and which are chosen."""

from __future__ import annotations

from dataclasses import replace

from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.fit import resolve_config
from anomaly_vae.training.pipeline import train_model
from anomaly_vae.training.search import candidate_configs
from tests.support.data import NAMES, make_rows
from tests.support.schemas import infer_schema
from tests.support.training import QUICK


def resolved(**changes):
    schema = infer_schema(make_rows(100), NAMES)
    return resolve_config(TrainConfig(random_state=7, **changes), schema, 100)


def differences(configs):
    """Names of the parameters in which configurations differ."""
    settings = [config.to_dict() for config in configs]
    return {name for name in settings[0] if len({str(each[name]) for each in settings}) > 1}


def test_no_search_trains_one_model_and_the_default_two_likelihoods():
    (only,) = candidate_configs(resolved(search="off"))
    assert only.likelihood == "student_t"
    both = candidate_configs(resolved())
    assert [each.likelihood for each in both] == ["student_t", "gaussian"]
    assert differences(both) == {"likelihood"}


def test_the_search_keeps_what_the_user_set():
    assert len(candidate_configs(resolved(likelihood="gaussian"))) == 1
    assert [each.decoder_variance for each in candidate_configs(resolved(decoder_variance="conditional"))] == [
        "conditional"
    ]
    assert all(each.likelihood == "count" for each in candidate_configs(resolved(likelihood="count", search="full")))


def test_an_ensemble_without_search_differs_in_seeds_only():
    found = candidate_configs(resolved(search="off", ensemble=4, likelihood="gaussian"))
    assert len(found) == 4
    assert differences(found) == {"random_state"}


def test_a_full_search_varies_sizes_variance_and_transform():
    found = candidate_configs(resolved(search="full"))
    assert differences(found) == {"likelihood", "latent_dim", "decoder_variance", "column_transform"}
    assert len({str(each.to_dict()) for each in found}) == len(found)


def test_the_manifest_records_chosen_and_other_candidates():
    config = replace(QUICK, search="full", max_steps=60)
    manifest = train_model(make_rows(300), NAMES, config).bundle.manifest
    found = manifest.training.candidates
    assert len(found) == len(candidate_configs(resolved(search="full")))
    chosen = [candidate for candidate in found if candidate.chosen]
    assert len(chosen) == len(manifest.members) == 2
    assert min(candidate.criterion for candidate in chosen) >= max(
        candidate.criterion for candidate in found if not candidate.chosen
    )
