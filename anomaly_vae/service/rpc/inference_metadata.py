"""The model's tensors, configuration and statistics, as the Open Inference Protocol describes them."""

from __future__ import annotations

from collections.abc import Iterable

from anomaly_vae.columns.schema import Schema
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_messages import INPUT, OUTPUTS
from anomaly_vae.service.served import Served
from anomaly_vae.service.telemetry.histogram import Series
from anomaly_vae.service.telemetry.metrics import Metrics

__all__ = ["EXTENSIONS", "PLATFORM", "metadata_of", "statistics_of", "triton_config_of"]

PLATFORM = "anomaly_vae"

# Triton's names of its extensions. Its others (sequence, schedule_policy, shared memory, ...) are not, or not fully,
# supported here.
EXTENSIONS = ("model_configuration", "model_repository", "parameters", "statistics")

_INPUT_TYPE = "FP32"
_TRITON_TYPES = {"FP32": pb.TYPE_FP32, "FP64": pb.TYPE_FP64, "BOOL": pb.TYPE_BOOL}


def metadata_of(served: Served, versions: Iterable[str]) -> pb.ModelMetadataResponse:
    """Return the model's tensors, the main numbers of its calibration, and the versions that are loaded."""
    calibration, tensor = served.scorer.bundle.manifest.calibration, pb.ModelMetadataResponse.TensorMetadata
    others = {
        "upper_threshold": calibration.upper_threshold,
        "contrast_threshold": calibration.contrast_threshold,
    }
    return pb.ModelMetadataResponse(
        name=served.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[tensor(name=INPUT, datatype=_INPUT_TYPE, shape=[-1, *_row_sizes(served.scorer.schema)])],
        outputs=[tensor(name=name, datatype=datatype, shape=[-1]) for name, datatype in OUTPUTS.items()],
        properties={
            "threshold": repr(calibration.threshold),
            **{name: repr(value) for name, value in others.items() if value is not None},
            "target_fpr": repr(calibration.target_fpr),
            "num_samples": str(served.scorer.num_samples),
            "bundle_digest": served.scorer.bundle.digest,
        },
    )


def triton_config_of(served: Served, max_rows: int) -> pb.ModelConfig:
    """Return the model's tensors in Triton's form, where the dimensions of a model with batches leave out the rows."""
    return pb.ModelConfig(
        name=served.name,
        platform=PLATFORM,
        backend=PLATFORM,
        max_batch_size=max_rows,
        input=[pb.ModelInput(name=INPUT, data_type=_TRITON_TYPES[_INPUT_TYPE], dims=_row_sizes(served.scorer.schema))],
        output=[pb.ModelOutput(name=name, data_type=_TRITON_TYPES[datatype]) for name, datatype in OUTPUTS.items()],
    )


def statistics_of(served: Served, metrics: Metrics) -> pb.ModelStatistics:
    """Return what the model has done since it was loaded, from the same counters as the Prometheus metrics."""
    series = metrics.models[served.key]
    requests = series.requests
    return pb.ModelStatistics(
        name=served.name,
        version=served.version,
        last_inference=int(1000 * requests.last_success),
        inference_count=series.num_rows,
        execution_count=series.num_batches,
        inference_stats=pb.InferStatistics(
            success=_duration(requests.success),
            fail=_duration(requests.fail),
            queue=_duration(requests.stages["queue"]),
            compute_input=_duration(requests.stages["decode"]),
            compute_infer=_duration(requests.computing),
            compute_output=_duration(requests.stages["encode"]),
        ),
    )


def _row_sizes(schema: Schema) -> tuple[int, ...]:
    """Return the shape of one row: that of a window or an image, otherwise (D,)."""
    return (len(schema.columns),) if schema.shape is None else schema.shape.sizes


def _duration(series: Series) -> pb.StatisticDuration:
    counts, seconds = series.read()
    return pb.StatisticDuration(count=counts[-1], ns=round(1e9 * seconds))
