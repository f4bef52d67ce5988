"""Messages of protobuf become JSON as the protocol over HTTP has it."""

import json

from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rest.plain import plain


def test_numbers_are_numbers_and_enumerations_have_names():
    tensor = pb.ModelInput(name="x", data_type=pb.TYPE_FP32, dims=[5, 2])
    found = plain(pb.ModelConfig(name="fraud", max_batch_size=7, input=[tensor]))
    assert found["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [5, 2]}]
    assert (found["max_batch_size"], found["output"]) == (7, [])


def test_maps_and_empty_messages_are_there_too():
    metadata = plain(pb.ModelMetadataResponse(name="fraud", properties={"threshold": "-3.5"}))
    assert (metadata["properties"], metadata["versions"]) == ({"threshold": "-3.5"}, [])
    stats = plain(pb.ModelStatistics(last_inference=2**53))
    assert stats["last_inference"] == 2**53
    assert stats["inference_stats"]["queue"] == {"count": 0, "ns": 0}
    json.dumps([metadata, stats])
