"""Requests that change models."""

import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_repository import check_repository, model_to_change

Parameter = pb.ModelRepositoryParameter


@pytest.mark.parametrize("kind", [pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest])
def test_the_name_comes_in_triton_s_field_or_in_kserve_s(kind):
    assert model_to_change(kind(model_name="fraud")) == "fraud"
    assert model_to_change(kind(repository_name="fraud")) == "fraud"
    parameters = {"unload_dependents": Parameter(bool_param=True)}
    assert model_to_change(kind(model_name="fraud", parameters=parameters)) == "fraud"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "model_name"),
        ({"model_name": "fraud", "repository_name": "other"}, "repository_name"),
        ({"model_name": "fraud", "parameters": {"config": Parameter(string_param="{}")}}, "parameters.config"),
        ({"model_name": "fraud", "parameters": {"file:1/a": Parameter(bytes_param=b"x")}}, "parameters.file:1/a"),
    ],
)
def test_a_request_never_says_what_is_loaded_or_from_where(fields, field):
    with pytest.raises(CallError) as error:
        model_to_change(pb.RepositoryModelLoadRequest(**fields))
    assert error.value.field == field


def test_there_is_one_repository_without_a_name():
    check_repository("")
    with pytest.raises(CallError, match="there is only one repository"):
        check_repository("models")
