"""Panels about calls, rows and scores."""

from __future__ import annotations

from tests.support.panels import HERE, MODEL, OF_VERSION, RATE, heat, mean, quantiles, series

__all__ = ["LATENCY", "QUALITY", "QUEUE", "TRAFFIC"]

CALLS = f'grpc_server_handled_total{{{HERE},grpc_method=~"Score|ScoreStream|GetModel|ModelInfer|ModelStreamInfer"}}'
FAILED = CALLS.replace("}", ',grpc_code=~"Unknown|Internal|Unavailable|DataLoss|DeadlineExceeded|ResourceExhausted"}')
UNARY = f'grpc_server_handling_seconds_bucket{{{HERE},grpc_method=~"Score|ModelInfer"}}'

TRAFFIC = (
    series(
        "Calls",
        "reqps",
        "Scoring calls a second, by method.",
        (f"sum by (grpc_method) (rate({CALLS}{RATE}))", "{{grpc_method}}"),
    ),
    series(
        "Failed calls",
        "percentunit",
        "The share of calls that failed, and not by a mistake of the caller. The objective is 0.1 %.",
        (f"sum by (grpc_code) (rate({FAILED}{RATE})) / on () group_left () sum(rate({CALLS}{RATE}))", "{{grpc_code}}"),
        ('job:anomaly_vae_errors:ratio_rate1h{job=~"$job"}', "all, 1 h"),
    ),
    series("Time of a call", "s", "Of unary calls, in the service.", *quantiles(UNARY, "", "", 0.5, 0.95, 0.99)),
    series(
        "Rows",
        "rowsps",
        "Rows a second by outcome. Unflagged rows were scored with another number of samples than the calibration.",
        (f"sum by (outcome) (rate(anomaly_vae_rows_total{{{MODEL}}}{RATE}))", "{{outcome}}"),
    ),
    series(
        "Refused requests",
        "reqps",
        "Requests that were not scored.",
        (f"sum by (reason) (rate(anomaly_vae_rejected_total{{{HERE}}}{RATE}))", "{{reason}}"),
    ),
    series(
        "Errors in streams",
        "reqps",
        "Requests of ModelStreamInfer that were answered with an error; their stream continues.",
        (f"sum by (grpc_code) (rate(anomaly_vae_stream_errors_total{{{HERE}}}{RATE}))", "{{grpc_code}}"),
    ),
)

LATENCY = (
    series(
        "Mean time by stage",
        "s",
        "queue is the time that a request waits while others are scored, infer the time for its own rows.",
        (mean("anomaly_vae_stage_seconds", HERE, "stage"), "{{stage}}"),
    ),
    series(
        "99 % of the times by stage",
        "s",
        "Time that 1 % of the requests exceed in this stage.",
        *quantiles(f"anomaly_vae_stage_seconds_bucket{{{HERE}}}", "stage", "{{stage}}", 0.99),
    ),
    heat("Times of calls", "s", "How the times of unary calls are distributed.", UNARY),
    series(
        "Rows scored together",
        "short",
        "The mean number of rows in a batch, of one request or several.",
        (mean("anomaly_vae_batch_rows", HERE, "instance"), "{{instance}}"),
    ),
    series(
        "Samples per row",
        "short",
        "The mean number of decoder evaluations of a row: what it costs.",
        (mean("anomaly_vae_samples_per_row", HERE, "instance"), "{{instance}}"),
    ),
)

QUEUE = (
    series(
        "Saturation",
        "percentunit",
        "The fullest of the queue's limits. At 100 % requests are refused. The autoscaler adds replicas for it.",
        (f"instance:anomaly_vae_queue_saturation:ratio{{{HERE}}}", "{{instance}}"),
    ),
    series(
        "Rows that wait",
        "short",
        "Rows that are admitted and not scored.",
        (f"sum by (instance) (anomaly_vae_queue_rows{{{HERE}}})", "{{instance}}"),
        (f"max(sum by (instance) (anomaly_vae_queue_limit_rows{{{HERE}}}))", "limit"),
    ),
    series(
        "Seconds of work that wait",
        "s",
        "At the measured speed.",
        (f"max by (instance) (anomaly_vae_queue_seconds{{{HERE}}})", "{{instance}}"),
    ),
    series(
        "Bytes that wait",
        "bytes",
        "Memory of the rows that wait.",
        (f"sum by (instance) (anomaly_vae_queue_bytes{{{HERE}}})", "{{instance}}"),
    ),
)

RATIO = (
    f'sum by (model_name, model_version) (rate(anomaly_vae_rows_total{{{MODEL},outcome="anomaly"}}{RATE})) / '
    f'sum by (model_name, model_version) (rate(anomaly_vae_rows_total{{{MODEL},outcome=~"anomaly|normal"}}{RATE}))'
)
QUALITY = (
    series(
        "Flagged rows",
        "percentunit",
        "The share of rows that are flagged, and the largest share expected while all rows are normal.",
        (RATIO, OF_VERSION),
        (
            f"max by (model_name, model_version) (anomaly_vae_expected_anomaly_ratio{{{MODEL}}})",
            f"{OF_VERSION} expected",
        ),
    ),
    heat(
        "p-values",
        "short",
        "Uniform while rows are like the calibration rows; more low ones mean less normal rows. Low cells are narrow.",
        f"anomaly_vae_p_value_bucket{{{MODEL}}}",
    ),
    series(
        "log p(x)",
        "short",
        "Quantiles in nats, and the threshold below which rows are flagged.",
        *quantiles(
            f"anomaly_vae_log_px_nats_bucket{{{MODEL}}}", "model_name, model_version", OF_VERSION, 0.05, 0.5, 0.95
        ),
        (f"max by (model_name, model_version) (anomaly_vae_threshold_nats{{{MODEL}}})", f"{OF_VERSION} threshold"),
    ),
    series(
        "Drift detector",
        "short",
        "Evidence in nats that rows have changed. While nothing changes, it exceeds 23 once in 10,000,000,000 rows.",
        (f"max by (model_name, model_version) (anomaly_vae_drift_log_detector{{{MODEL}}})", OF_VERSION),
    ),
    series(
        "Rows with a p-value of at most 0.5",
        "percentunit",
        "50 % while rows are like the calibration rows, whatever the number of anomalies.",
        (
            f'sum by (model_name, model_version) (rate(anomaly_vae_p_value_bucket{{{MODEL},le="0.5"}}{RATE})) / '
            f"sum by (model_name, model_version) (rate(anomaly_vae_p_value_count{{{MODEL}}}{RATE}))",
            OF_VERSION,
        ),
    ),
    series(
        "Effective samples",
        "percentunit",
        "Median of the effective sample size of a row, divided by its samples. Low values mean uncertain scores.",
        *quantiles(f"anomaly_vae_ess_ratio_bucket{{{HERE}}}", "", "", 0.1, 0.5),
    ),
)
