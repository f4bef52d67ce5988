"""Parameters of requests and tensors: known, refused or ignored."""

import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_parameters import check_parameters, check_size, parameters_of
from tests.support.inference_requests import SHARED, many_parameters, number, parameter
from tests.support.running import INVALID

ERRORS = {
    "shared memory of all": ({"parameters": SHARED}, "parameters", "'shared_memory_"),
    "another option's name": (parameter("max_std_error", string_param="0.1"), "parameters", "'max_std_error' is not"),
    "an option in full": (parameter("flag_only", bool_param=True), "parameters", "anomaly_vae.v1.ScoringService"),
    "a misspelt budget": (parameter("num_sample", int64_param=64), "parameters", "'num_sample' is not known here"),
    "a budget in capitals": (parameter("NumSamples", int64_param=64), "parameters", "name it num_samples, in the"),
    "many parameters": ({"parameters": many_parameters(65)}, "parameters", "has 65 entries, at most 64 may be"),
    "a flood of parameters": ({"parameters": many_parameters(9000)}, "parameters", "has 9000 entries"),
    "a negative budget": (parameter("num_samples", int64_param=-16), "parameters.num_samples", "whole number"),
    "a broken budget": (parameter("num_samples", double_param=64.0), "parameters.num_samples", "whole number"),
    "a budget in words": (parameter("num_samples", string_param="٣"), "parameters.num_samples", "text of digits"),
    "an empty timeout": (parameter("timeout"), "parameters.timeout", "whole number"),
    "a boolean timeout": (parameter("timeout", bool_param=True), "parameters.timeout", "whole number"),
    "a negative timeout": (parameter("timeout", int64_param=-1), "parameters.timeout", "whole number"),
    "an endless timeout": (parameter("timeout", string_param="9" * 5000), "parameters.timeout", "whole number"),
    "a priority in words": (parameter("priority", string_param="high"), "parameters.priority", "whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_a_parameter_that_must_not_be_ignored_is_refused(name):
    fields, field, text = ERRORS[name]
    with pytest.raises(CallError) as error:
        parameters_of(fields["parameters"])
    assert (error.value.code, error.value.field) == (INVALID, field)
    assert text in error.value.text


def test_without_parameters_the_budget_is_the_calibrated_one_and_there_is_no_timeout():
    assert parameters_of({}) == (0, None)


@pytest.mark.parametrize("kind", [{"int64_param": 250}, {"uint64_param": 250}, {"string_param": "250"}])
def test_a_whole_number_may_be_of_any_kind_that_clients_send(kind):
    value = pb.InferParameter(**kind)
    found = parameters_of({"num_samples": value, "timeout": value, "priority": value})
    assert found.num_samples == 250
    assert found.timeout == pytest.approx(250e-6)


def test_a_timeout_of_zero_is_no_timeout():
    """Triton's rule."""
    assert parameters_of({"timeout": number(0)}).timeout is None


@pytest.mark.parametrize("name", ["num_steps", "samples", "num_outputs", "n" * 10**6])
def test_names_that_do_not_look_like_num_samples_are_ignored(name):
    """A million letters would take long to compare, and cannot be a misspelling of eleven."""
    check_parameters({name: number(1)}, "parameters")


@pytest.mark.parametrize("name", ["num_sample", "NUM_SAMPLES", "numSamples", "n_samples", "num_samples"])
def test_names_that_look_like_num_samples_are_refused_where_they_are_not_known(name):
    with pytest.raises(CallError, match="name it num_samples, in the request's own parameters") as error:
        check_parameters({name: number(1)}, "inputs[0].parameters")
    assert error.value.field == "inputs[0].parameters"
    check_parameters({name: number(1)}, "parameters", known=(name,))


def test_the_size_of_a_tensor_must_be_that_of_its_values_if_it_is_given():
    check_size({}, "inputs[0].parameters", 240)
    check_size({"binary_data_size": number(240)}, "inputs[0].parameters", 240)
    with pytest.raises(CallError, match="is 239, the values have 240 bytes") as error:
        check_size({"binary_data_size": number(239)}, "inputs[0].parameters", 240)
    assert error.value.field == "inputs[0].parameters.binary_data_size"
