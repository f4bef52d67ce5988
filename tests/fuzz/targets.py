"""What must hold for any bytes at all: of a request, of a file of a bundle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import grpc
import numpy as np

from anomaly_vae.errors import BundleError
from anomaly_vae.manifest import decode_manifest
from anomaly_vae.npy import parse_npy, parse_npz
from anomaly_vae.onnx_wire import check_graph
from anomaly_vae.scorer import Scorer, load
from anomaly_vae.service import convert, inference_convert, inference_parameters
from anomaly_vae.service.faults import Fault
from tests.attacks import write_manifest
from tests.fuzz.seeds import LIMITS, SCHEMA

__all__ = ["CHECKSUM", "MANIFEST", "decoded", "inferred", "loaded", "parses", "walk_through"]

MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
_LONGEST_LINE = 2000


def decoded(data: bytes) -> np.ndarray | None:
    """The rows of a ScoreRequest that is in order; None for one that is refused as it should be."""
    try:
        request = convert.parse_request(data, LIMITS)
        num_rows = convert.count_rows(request)
        rows = convert.rows_of(request, SCHEMA, LIMITS)
    except Fault as fault:
        return _check_fault(fault)
    return _check_rows(rows, num_rows)


def inferred(data: bytes) -> np.ndarray | None:
    """The same for a ModelInferRequest."""
    try:
        request = inference_convert.parse_infer(data)
        num_rows = inference_convert.count_rows(request)
        inference_parameters.options_of(request.parameters)
        inference_convert.outputs_of(request, calibrated=True)
        rows = inference_convert.rows_of(request, SCHEMA, LIMITS)
    except Fault as fault:
        return _check_fault(fault)
    return _check_rows(rows, num_rows)


def walk_through(size: int) -> None:
    """Walk through all requests larger than so many bytes before they are parsed."""
    convert.SMALL_MESSAGE = inference_convert.SMALL_MESSAGE = size


def _check_rows(rows: np.ndarray, num_rows: int) -> np.ndarray:
    assert rows.dtype == np.float64
    assert rows.shape == (num_rows, len(SCHEMA.columns))
    assert 1 <= num_rows <= LIMITS.max_rows
    assert not np.isinf(rows).any()
    return rows


def _check_fault(fault: Fault) -> None:
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert fault.field
    assert fault.text.isprintable()
    _check_line(fault.text)


def _check_line(text: str) -> None:
    assert len(text.encode(errors="replace")) < _LONGEST_LINE


def loaded(folder: Path, name: str, data: bytes) -> Scorer | None:
    """Load a bundle one file of which has other bytes, its digest made right; None if it is refused as it should be."""
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
    """Whether the file's own parser finds nothing wrong with it; what the file must fit is checked later."""
    try:
        if name == MANIFEST:
            decode_manifest(data, name)
        elif name == CHECKSUM:
            return True  # it is compared, not parsed
        elif name.endswith(".onnx"):
            check_graph(data, name)
        elif name == "golden.npz":
            parse_npz(data, {"rows": 2, "log_px": 1}, name)
        else:
            parse_npy(data, *((np.dtype("<f4"), 3) if name == "noise.npy" else (np.dtype("<f8"), 1)), name)
    except BundleError as error:
        _check_line(str(error))
        return False
    return True
