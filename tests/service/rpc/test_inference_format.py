"""ModelInfer as a message format: the model, the options, the rows and the reply of a request."""

import pytest

from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_format import InferenceFormat, serialised
from tests.support.inference_requests import ROWS, number, parameter, request, values_of, wanted
from tests.support.running import INVALID
from tests.support.served import LIMITS, scores_of, served_model

FORMAT, SERVED = InferenceFormat(LIMITS, serialised), served_model()

ERRORS = {
    "a p-value of another budget": (
        wanted("p_value") | parameter("num_samples", int64_param=64), "outputs[0].name", "only the calibrated budget"
    ),
    "a flag of another budget": (
        wanted("is_anomaly") | parameter("num_samples", int64_param=64), "outputs[0].name", "leave out num_samples"
    ),
    "an odd budget": (parameter("num_samples", int64_param=17), "parameters.num_samples", "is 17, expected 0"),
    "an absurd budget": (parameter("num_samples", uint64_param=2**64 - 1), "parameters.num_samples", "expected 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_a_budget_that_the_model_lacks_is_refused(name):
    fields, field, text = ERRORS[name]
    with pytest.raises(CallError) as error:
        FORMAT.options(SERVED, request(**fields))
    assert (error.value.code, error.value.field) == (INVALID, field)
    assert text in error.value.text


@pytest.mark.parametrize(
    ("parameters", "samples", "timeout", "outputs"),
    [
        ({}, 1_024, None, 6),
        ({"num_samples": number(0)}, 1_024, None, 6),
        ({"num_samples": number(1_024), "timeout": number(250_000)}, 1_024, 0.25, 6),
        ({"num_samples": number(64)}, 64, None, 4),
    ],
)
def test_options_are_those_of_the_parameters(parameters, samples, timeout, outputs):
    """The two outputs that need the calibration are left out with another budget."""
    options = FORMAT.options(SERVED, request(parameters=parameters))
    assert options.score == ScoreOptions(num_samples=samples)
    assert options.timeout == timeout
    assert len(options.outputs) == outputs


def test_a_request_becomes_rows_and_scores_become_its_reply():
    message = FORMAT.parse(request(id="order 66", **wanted("elbo", "log_px")).SerializeToString())
    assert FORMAT.request_id(message) == "order 66"
    assert FORMAT.count_rows(SERVED, message) == 6
    assert FORMAT.make_rows(SERVED, message).tobytes() == ROWS.tobytes()
    scores, options = scores_of(6), FORMAT.options(SERVED, message)
    reply = pb.ModelInferResponse.FromString(FORMAT.write_reply(SERVED, message, options, scores, []))
    assert (reply.model_name, reply.model_version, reply.id) == ("model", "3", "order 66")
    assert {name: values.tobytes() for name, values in values_of(reply).items()} == {
        "elbo": scores.elbo.tobytes(),
        "log_px": scores.log_px.tobytes(),
    }
