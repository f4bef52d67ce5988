"""What the dashboard of deploy/grafana shows: its variables, its rows of panels, and marks where models change."""

from __future__ import annotations

from tests.support.panels import Query
from tests.support.panels_of_calls import LATENCY, QUALITY, QUEUE, TRAFFIC
from tests.support.panels_of_models import CALLERS, CANARY, HOUSE, HTTP, MODELS, SHADOW, WORKERS

__all__ = ["CHANGES", "ROWS", "VARIABLES"]

# Name, label, query. All of them take several values.
VARIABLES = (
    ("job", "Job", "label_values(anomaly_vae_model_info, job)"),
    ("instance", "Instance", 'label_values(anomaly_vae_model_info{job=~"$job"}, instance)'),
    ("model_name", "Model", 'label_values(anomaly_vae_model_info{job=~"$job"}, model_name)'),
    (
        "model_version",
        "Version",
        'label_values(anomaly_vae_model_info{job=~"$job",model_name=~"$model_name"}, model_version)',
    ),
)

# Marks in every panel where the models have changed.
CHANGES = Query(
    'sum by (model_name, change) (increase(anomaly_vae_model_changes_total{job=~"$job"}[1m])) > 0',
    "{{model_name}}: {{change}}",
)

ROWS = (
    ("Traffic and errors", TRAFFIC),
    ("Latency by stage", LATENCY),
    ("Queue", QUEUE),
    ("Model quality", QUALITY),
    ("Models and changes", MODELS),
    ("Canary and default version", CANARY),
    ("Shadow", SHADOW),
    ("Callers", CALLERS),
    ("Workers", WORKERS),
    ("HTTP", HTTP),
    ("Certificate and log", HOUSE),
)
