"""The model as the Open Inference Protocol describes it."""

import pytest

from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from anomaly_vae.service.rpc.inference_metadata import metadata_of, statistics_of, triton_config_of
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.data import NAMES
from tests.support.served import DIGEST, scores_of, served_model
from tests.support.shaped import IMAGE, WINDOW, schema_with

SERVED = served_model()


def test_metadata_describes_inputs_and_outputs():
    """The numbers are text that Python reads back as the same floats."""
    model = metadata_of(SERVED, ["3"])
    calibration = SERVED.scorer.bundle.manifest.calibration
    assert (model.name, model.versions, model.platform) == ("model", ["3"], "anomaly_vae")
    assert [(t.name, t.datatype, t.shape) for t in model.inputs] == [("x", "FP32", [-1, len(NAMES)])]
    assert [(t.name, t.datatype, t.shape) for t in model.outputs] == [(n, t, [-1]) for n, t in OUTPUTS.items()]
    assert float(model.properties["threshold"]) == calibration.threshold
    assert float(model.properties["target_fpr"]) == calibration.target_fpr
    assert model.properties["num_samples"] == "1024"
    assert model.properties["bundle_digest"] == DIGEST
    assert "upper_threshold" not in model.properties
    both = metadata_of(served_model(tail="both"), ["3"]).properties
    assert (both["threshold"], both["upper_threshold"]) == ("1.0", "97.0")


@pytest.mark.parametrize(("shape", "expected"), [(IMAGE, [-1, 3, 4, 1]), (WINDOW, [-1, 4, 2])])
def test_windows_and_images_have_their_shape(shape, expected):
    (described,) = metadata_of(served_model(schema_with(shape)), ["3"]).inputs
    assert (described.name, described.datatype, described.shape) == ("x", "FP32", expected)


@pytest.mark.parametrize("served", [SERVED, served_model(schema_with(IMAGE))])
def test_triton_s_configuration_agrees_with_the_metadata(served):
    """Its dims leave out the batch: with the rows added they are the shapes of the metadata."""
    config, model = triton_config_of(served, 1_000), metadata_of(served, ["3"])
    assert (config.name, config.backend, config.max_batch_size) == ("model", "anomaly_vae", 1_000)
    for tensors, described in ((config.input, model.inputs), (config.output, model.outputs)):
        found = [(t.name, pb.DataType.Name(t.data_type), [-1, *t.dims]) for t in tensors]
        assert found == [(t.name, f"TYPE_{t.datatype}", t.shape) for t in described]


def test_statistics_come_from_the_metrics():
    """Triton counts nanoseconds, the metrics count seconds."""
    metrics = Metrics(1_000, 10**6)
    metrics.models.add(SERVED.key, SERVED.scorer)
    assert statistics_of(SERVED, metrics).inference_count == 0
    for num_rows, seconds in ((5, 0.25), (7, 0.5)):
        metrics.count_scores(SERVED.key, scores_of(num_rows, calibrated=False))
        metrics.models[SERVED.key].requests.stages["decode"].observe_one(seconds)
    found = statistics_of(SERVED, metrics)
    assert (found.name, found.version) == ("model", "3")
    assert (found.inference_count, found.execution_count) == (12, 2)
    stages = found.inference_stats
    assert (stages.compute_input.count, stages.compute_input.ns) == (2, 750_000_000)
    assert stages.queue.count == stages.compute_output.count == 0
    assert stages.success.count == pytest.approx(0)
