"""Functions that read any bytes, as a request or as a file of a bundle, and check what must always hold."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import grpc
import numpy as np

from anomaly_vae.bundle.manifest_json import decode_manifest
from anomaly_vae.bundle.npy import parse_npy
from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import Scorer, load
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rpc import inference_messages, inference_parameters, score_messages
from tests.fuzz.seeds import LIMITS, SCHEMA
from tests.support.attacks import write_manifest

__all__ = ["CHECKSUM", "MANIFEST", "decoded", "inferred", "loaded", "parses", "set_small_message"]

MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
_LONGEST_LINE = 2000


def decoded(data: bytes) -> np.ndarray | None:
    """Return the rows of a ScoreRequest, or None if it is refused with a proper error."""
    try:
        request = score_messages.parse_request(data, LIMITS)
        num_rows = score_messages.count_rows(request, SCHEMA)
        rows = score_messages.rows_of(request, SCHEMA, LIMITS)
    except CallError as error:
        return _check_error(error)
    return _check_rows(rows, num_rows)


def inferred(data: bytes) -> np.ndarray | None:
    """Return the rows of a ModelInferRequest, or None if it is refused with a proper error."""
    try:
        request = inference_messages.parse_infer(data)
        num_rows = inference_messages.count_rows(request)
        inference_parameters.parameters_of(request.parameters)
        inference_messages.outputs_of(request, calibrated=True)
        rows = inference_messages.rows_of(request, SCHEMA, LIMITS)
    except CallError as error:
        return _check_error(error)
    return _check_rows(rows, num_rows)


def set_small_message(size: int) -> None:
    """Check requests with more bytes than this before they are parsed."""
    score_messages.SMALL_MESSAGE = inference_messages.SMALL_MESSAGE = size


def _check_rows(rows: np.ndarray, num_rows: int) -> np.ndarray:
    assert rows.dtype == np.float64
    assert rows.shape == (num_rows, len(SCHEMA.columns))
    assert 1 <= num_rows <= LIMITS.max_rows
    assert not np.isinf(rows).any()
    return rows


def _check_error(error: CallError) -> None:
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field
    assert error.text.isprintable()
    _check_line(error.text)


def _check_line(text: str) -> None:
    assert len(text.encode(errors="replace")) < _LONGEST_LINE


def loaded(folder: Path, name: str, data: bytes) -> Scorer | None:
    """Load a bundle with other bytes in one file and a matching digest; None if it is refused with a proper error."""
    before = {each: (folder / each).read_bytes() for each in (name, MANIFEST, CHECKSUM)}
    try:
        (folder / name).write_bytes(data)
        if name not in (MANIFEST, CHECKSUM):
            document = json.loads(before[MANIFEST])
            document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            write_manifest(folder, json.dumps(document).encode())
        elif name == MANIFEST:
            write_manifest(folder, data)
        return load(folder, threads=1)
    except BundleError as error:
        _check_line(str(error))
        return None
    finally:
        for each, content in before.items():
            (folder / each).write_bytes(content)


def parses(name: str, data: bytes) -> bool:
    """Return whether the file's own parser accepts it. Whether it fits the other files is checked later."""
    try:
        if name == MANIFEST:
            decode_manifest(data, name)
        elif name == CHECKSUM:
            return True  # compared, not parsed
        elif name.endswith(".onnx"):
            check_graph(data, name)
        else:
            dtype, ndim = {"noise.npy": ("<f4", 3), "calibration.npy": ("<f8", 1), "golden.npy": ("<f8", 2)}[name]
            parse_npy(data, np.dtype(dtype), ndim, name)
    except BundleError as error:
        _check_line(str(error))
        return False
    return True
