"""Calls a service through tritonclient over HTTP. Runs in an environment that does not have this package.

Usage: ask_over_http_by_tritonclient.py TARGET FOLDER. FOLDER has rows.npy; writes arrays.npz and facts.json there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
OUTPUTS = ("log_px", "elbo", "std_error", "p_value", "score", "is_anomaly")


def tensor(rows, datatype="FP64", binary=True):
    made = triton.InferInput("x", rows.shape, datatype)
    made.set_data_from_numpy(rows.astype(TYPES[datatype]), binary_data=binary)
    return made


def wanted(*names, binary):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def fault_of(call, *arguments, **options):
    """Status and message of a call that must fail."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def ask(client, rows):
    x = tensor(rows)
    names = wanted("is_anomaly", "log_px", binary=True)
    some = client.infer("model", [x], outputs=names, request_id="order 66", priority=3, timeout=60_000_000)
    results = {
        "FP64": client.infer("model", [x]),
        "FP32": client.infer("model", [tensor(rows, "FP32")], model_version="1"),
        "JSON": client.infer("model", [tensor(rows, binary=False)], outputs=wanted(*OUTPUTS, binary=False)),
        "some": some,
        "async": client.async_infer("model", [x]).get_result(),
        "budget": client.infer("model", [x], parameters={"num_samples": 64}),
    }
    facts = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready("model"), client.is_model_ready("model", "1")],
        "other_ready": client.is_model_ready("other"),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata("model"),
        "config": client.get_model_config("model"),
        "index": client.get_model_repository_index(),
        "statistics": client.get_inference_statistics("model")["model_stats"],
        "all_statistics": client.get_inference_statistics()["model_stats"],
        "id": some.get_response()["id"],
        "order": [output["name"] for output in some.get_response()["outputs"]],
        "faults": {
            "model": fault_of(client.infer, "other", [x]),
            "integers": fault_of(client.infer, "model", [tensor(rows, "INT64")]),
            "infinity": fault_of(client.infer, "model", [tensor(np.full(rows.shape, np.inf))]),
            "gzip": fault_of(client.infer, "model", [x], request_compression_algorithm="gzip"),
        },
    }
    arrays = {}
    for name, result in results.items():
        for output in OUTPUTS:
            if result.as_numpy(output) is not None:
                arrays[f"{name}.{output}"] = result.as_numpy(output)
    return arrays, facts


def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    with triton.InferenceServerClient(target) as client:
        arrays, facts = ask(client, np.load(folder / "rows.npy"))
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
