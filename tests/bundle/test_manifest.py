"""The names of a bundle's graphs."""

from __future__ import annotations

from anomaly_vae.bundle.manifest import graph_names, member_suffix


def test_the_graphs_of_further_members_are_numbered_from_2():
    assert [member_suffix(m) for m in range(3)] == ["", "-2", "-3"]
    assert graph_names(2) == (
        "encoder.onnx",
        "decoder.onnx",
        "log_joint.onnx",
        "posterior.onnx",
        "likelihood.onnx",
        "encoder-2.onnx",
        "decoder-2.onnx",
        "log_joint-2.onnx",
        "posterior-2.onnx",
        "likelihood-2.onnx",
    )
