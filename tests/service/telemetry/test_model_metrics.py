"""The series of the loaded models."""

from prometheus_client import CollectorRegistry, generate_latest

from anomaly_vae.service.telemetry.model_metrics import ModelMetrics
from tests.support.served import scores_of, served_model

SCORER = served_model().scorer


def series_of(registry, version):
    return sorted(
        line for line in generate_latest(registry).decode().splitlines() if f'model_version="{version}"' in line
    )


def test_a_model_brings_its_series_at_zero_and_takes_them_away():
    registry = CollectorRegistry()
    models = ModelMetrics(registry)
    models.add(("fraud", "4"), SCORER)
    models.add(("fraud", "5"), served_model(tail="both").scorer)
    before = series_of(registry, "4")
    assert len([line for line in before if line.startswith("anomaly_vae_rows_total") and line.endswith(" 0.0")]) == 4
    assert any(line.startswith("anomaly_vae_upper_threshold_nats") for line in series_of(registry, "5"))
    models.count_scores(("fraud", "5"), scores_of(10))
    models.remove(("fraud", "5"))
    assert series_of(registry, "5") == []
    assert series_of(registry, "4") == before


def test_rows_are_counted_for_their_model_only_and_for_none_that_is_gone():
    registry = CollectorRegistry()
    models = ModelMetrics(registry)
    for version in ("4", "5"):
        models.add(("fraud", version), SCORER)
    models.count_scores(("fraud", "4"), scores_of(10))
    models.count_explained(("fraud", "4"), 2)
    models.count_invalid(("fraud", "4"), 3)
    for count in (models.count_explained, models.count_invalid):
        count(("gone", "1"), 7)
    models.count_scores(("gone", "1"), scores_of(7))
    assert (models[("fraud", "4")].num_rows, models[("fraud", "4")].num_batches) == (10, 1)
    assert models[("fraud", "5")].num_rows == 0
    labels = {"model_name": "fraud", "model_version": "4"}
    assert registry.get_sample_value("anomaly_vae_explained_rows_total", labels) == 2
    assert registry.get_sample_value("anomaly_vae_rows_total", labels | {"outcome": "invalid"}) == 3
    assert "gone" not in generate_latest(registry).decode()


def test_a_model_that_is_loaded_again_starts_at_zero():
    registry = CollectorRegistry()
    models = ModelMetrics(registry)
    models.add(("fraud", "4"), SCORER)
    models.count_scores(("fraud", "4"), scores_of(10))
    models.requests(("fraud", "4")).success.observe_one(1.0)
    models.add(("fraud", "4"), SCORER)
    assert models[("fraud", "4")].num_rows == 0
    rows = [line for line in series_of(registry, "4") if line.startswith("anomaly_vae_rows_total")]
    assert len(rows) == 4
    assert all(line.endswith(" 0.0") for line in rows)
    assert models.requests(("fraud", "4")).success.read()[0] == [0]
    assert models.requests(("gone", "1")).success.read()[0] == [0]
