"""Panels about models, their versions, callers, workers and HTTP."""

from __future__ import annotations

from tests.support.panels import HERE, MODEL, OF_VERSION, RATE, RECORDED, Panel, Query, heat, quantiles, series

__all__ = ["CALLERS", "CANARY", "HOUSE", "HTTP", "MODELS", "SHADOW", "WORKERS"]

NAME = f'{HERE},model_name=~"$model_name"'
MODELS = (
    Panel(
        "Models",
        "table",
        "short",
        "What is served, and by how many replicas.",
        (Query(f"count by (model_name, model_version, format_version) (anomaly_vae_model_info{{{MODEL}}})", ""),),
    ),
    Panel(
        "Versions over time",
        "state-timeline",
        "short",
        "The number of replicas that serve a version.",
        (Query(f"count by (model_name, model_version) (anomaly_vae_model_info{{{MODEL}}})", OF_VERSION),),
    ),
    series(
        "Time since a version was loaded",
        "s",
        "Of the replica that loaded it last.",
        (
            f"time() - max by (model_name, model_version) (anomaly_vae_model_loaded_timestamp_seconds{{{MODEL}}})",
            OF_VERSION,
        ),
    ),
    series(
        "Shares",
        "percentunit",
        "Shares of the requests that name no version.",
        (
            f"avg by (model_name, model_version, role) (anomaly_vae_model_share{{{MODEL}}})",
            f"{OF_VERSION} {{{{role}}}}",
        ),
    ),
    series(
        "Changes",
        "short",
        "Versions that were loaded, removed and refused.",
        (
            f"sum by (model_name, change) (increase(anomaly_vae_model_changes_total{{{NAME}}}{RATE}))",
            "{{model_name}} {{change}}",
        ),
    ),
    series(
        "Refused versions",
        "short",
        "Replicas that refuse a version that lies in their folder.",
        (f"sum by (model_name, model_version) (anomaly_vae_model_refused{{{MODEL}}})", OF_VERSION),
    ),
    series(
        "Time since the last look for versions",
        "s",
        "Above 10 minutes AnomalyVaeModelCheckFails fires.",
        (f"time() - min by (instance) (anomaly_vae_model_check_timestamp_seconds{{{HERE}}})", "{{instance}}"),
    ),
    series(
        "Looks that failed",
        "short",
        "Attempts to find new versions that failed.",
        (f"sum by (instance) (increase(anomaly_vae_model_check_failures_total{{{HERE}}}{RATE}))", "{{instance}}"),
    ),
)

CANARY = (
    series(
        "Flagged rows of the last hour",
        "percentunit",
        "By version: compare the canary with the default version.",
        (f"model:anomaly_vae_anomalies:ratio_increase1h{{{RECORDED}}}", OF_VERSION),
    ),
    series(
        "Difference of the canary",
        "short",
        "Of its share of flagged rows from the default version's, in standard deviations. Beyond 4, an alert fires.",
        (f"model:anomaly_vae_canary_difference:sigmas1h{{{RECORDED}}}", OF_VERSION),
    ),
    series(
        "Rows of the last hour",
        "short",
        "With a few hundred rows, only large differences can be seen.",
        (f"model:anomaly_vae_judged_rows:increase1h{{{RECORDED}}}", OF_VERSION),
    ),
)

SHADOW = (
    series(
        "Decisions of shadow and served version",
        "rowsps",
        "Rows that both, one or none of them flag.",
        (
            f"sum by (model_name, model_version, agreement) (rate(anomaly_vae_shadow_rows_total{{{MODEL}}}{RATE}))",
            f"{OF_VERSION} {{{{agreement}}}}",
        ),
    ),
    series(
        "Disagreement",
        "percentunit",
        "The share of the rows of the last hour on which they differ, and what both targets allow for normal rows.",
        (f"model:anomaly_vae_shadow_disagreement:ratio_increase1h{{{RECORDED}}}", OF_VERSION),
        (f"model:anomaly_vae_shadow_disagreement:limit{{{RECORDED}}}", f"{OF_VERSION} limit"),
    ),
    heat(
        "Shift of p-values",
        "short",
        "The shadow's p-value minus the served version's. All near 0: the versions agree on the order of rows.",
        f"anomaly_vae_shadow_p_value_shift_bucket{{{MODEL}}}",
    ),
    series(
        "Dropped rows",
        "rowsps",
        "Rows that the shadow had no time for.",
        (
            f"sum by (model_name, model_version) (rate(anomaly_vae_shadow_dropped_rows_total{{{MODEL}}}{RATE}))",
            OF_VERSION,
        ),
    ),
)

CALLERS = (
    series(
        "Rows by caller",
        "rowsps",
        "A caller is a token; - has none.",
        (f"sum by (caller, priority) (rate(anomaly_vae_caller_rows_total{{{HERE}}}{RATE}))", "{{caller}} {{priority}}"),
    ),
    series(
        "Refused by caller",
        "reqps",
        "Calls beyond the limits of their token.",
        (f"sum by (caller, reason) (rate(anomaly_vae_caller_rejected_total{{{HERE}}}{RATE}))", "{{caller}} {{reason}}"),
    ),
    series(
        "Outstanding rows by caller",
        "short",
        "Rows that are admitted and not answered.",
        (f"sum by (caller) (anomaly_vae_caller_outstanding_rows{{{HERE}}})", "{{caller}}"),
    ),
)

WORKERS = (
    series(
        "Worker processes",
        "short",
        "Processes that serve, and that are wanted.",
        (f"sum by (instance) (anomaly_vae_worker_up{{{HERE}}})", "{{instance}}"),
        (f"sum by (instance) (anomaly_vae_workers{{{HERE}}})", "{{instance}} wanted"),
    ),
    series(
        "Restarts",
        "short",
        "Of workers.",
        (
            f"sum by (instance, worker) (increase(anomaly_vae_worker_restarts_total{{{HERE}}}{RATE}))",
            "{{instance}} {{worker}}",
        ),
    ),
    series(
        "CPU",
        "short",
        "Cores in use, by process.",
        (f"sum by (instance, worker) (rate(process_cpu_seconds_total{{{HERE}}}{RATE}))", "{{instance}} {{worker}}"),
    ),
    series(
        "Memory",
        "bytes",
        "Resident memory, by process.",
        (f"sum by (instance, worker) (process_resident_memory_bytes{{{HERE}}})", "{{instance}} {{worker}}"),
    ),
    series(
        "Open files",
        "short",
        "Descriptors, with those of connections, by process.",
        (f"sum by (instance, worker) (process_open_fds{{{HERE}}})", "{{instance}} {{worker}}"),
    ),
)

HTTP = (
    series(
        "HTTP requests",
        "reqps",
        "By route and status.",
        (f"sum by (route, code) (rate(anomaly_vae_http_requests_total{{{HERE}}}{RATE}))", "{{route}} {{code}}"),
    ),
    series(
        "Failed HTTP requests",
        "percentunit",
        "The share of requests for scores that are answered with 5xx, over one hour.",
        ('job:anomaly_vae_http_errors:ratio_rate1h{job=~"$job"}', "all, 1 h"),
    ),
    series(
        "Time of an HTTP request",
        "s",
        "That 1 % of the requests exceed, by route.",
        *quantiles(f"anomaly_vae_http_request_seconds_bucket{{{HERE}}}", "route", "{{route}}", 0.99),
    ),
)

HOUSE = (
    series(
        "Time until the certificate expires",
        "s",
        "Only with TLS. AnomalyVaeCertificateEndsSoon fires two weeks before.",
        (
            f"min by (instance) (anomaly_vae_tls_certificate_expiry_timestamp_seconds{{{HERE}}}) - time()",
            "{{instance}}",
        ),
    ),
    series(
        "Lost log lines",
        "short",
        "Lines that could not be written.",
        (f"sum by (instance) (increase(anomaly_vae_log_lines_lost_total{{{HERE}}}{RATE}))", "{{instance}}"),
    ),
)
