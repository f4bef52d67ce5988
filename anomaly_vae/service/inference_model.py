"""What the Open Inference Protocol's clients are told of a model."""

from __future__ import annotations

from anomaly_vae.service.inference_convert import INPUT, OUTPUTS
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.served import Served

__all__ = ["PLATFORM", "metadata_of", "triton_config_of"]

PLATFORM = "anomaly_vae"

_INPUT_TYPE = "FP32"
_TRITON_TYPES = {"FP32": pb.TYPE_FP32, "FP64": pb.TYPE_FP64, "BOOL": pb.TYPE_BOOL}


def metadata_of(served: Served) -> pb.ModelMetadataResponse:
    """The model's tensors, and what of its calibration a client may want to show."""
    calibration, tensor = served.scorer.bundle.manifest.calibration, pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=served.name,
        versions=[served.version],
        platform=PLATFORM,
        inputs=[tensor(name=INPUT, datatype=_INPUT_TYPE, shape=[-1, len(served.scorer.schema.columns)])],
        outputs=[tensor(name=name, datatype=datatype, shape=[-1]) for name, datatype in OUTPUTS.items()],
        properties={
            "threshold": repr(calibration.threshold),
            "target_fpr": repr(calibration.target_fpr),
            "num_samples": str(served.scorer.num_samples),
            "bundle_digest": served.scorer.bundle.digest,
        },
    )


def triton_config_of(served: Served, max_rows: int) -> pb.ModelConfig:
    """The same in Triton's words, where the dimensions of a model that takes batches leave out the rows."""
    return pb.ModelConfig(
        name=served.name,
        platform=PLATFORM,
        backend=PLATFORM,
        max_batch_size=max_rows,
        input=[
            pb.ModelInput(name=INPUT, data_type=_TRITON_TYPES[_INPUT_TYPE], dims=[len(served.scorer.schema.columns)])
        ],
        output=[pb.ModelOutput(name=name, data_type=_TRITON_TYPES[datatype]) for name, datatype in OUTPUTS.items()],
    )
