"""Calls a service through KServe's client. Runs in an environment that has kserve and does not have this package.

Usage: ask_by_kserve.py TARGET FOLDER, where FOLDER holds rows.npy; writes arrays.npz and facts.json there.
"""

import asyncio
import json
import sys
from pathlib import Path

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}


def tensor(rows, datatype, binary_data=True, parameters=None):
    made = InferInput("x", list(rows.shape), datatype, parameters=parameters)
    made.set_data_from_numpy(rows.astype(TYPES[datatype]), binary_data=binary_data)
    return made


def from_constructor(rows, data):
    """As in KServe's own examples: values, nested or flat or an array, at once."""
    return InferInput("x", list(rows.shape), "FP64", data=data)


def with_wrong_size(rows):
    """A tensor that claims a wrong number of bytes."""
    made = tensor(rows, "FP64")
    made.parameters["binary_data_size"] = rows.nbytes - 8
    return made


async def infer(client, *tensors, model="model", **options):
    return await client.infer(InferRequest(model, list(tensors), **options))


async def fault_of(awaitable):
    """Status and message of a call that must fail."""
    try:
        await awaitable
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None


async def ask(client, rows):
    """Arrays by "call.output", and everything else by name."""
    x = tensor(rows, "FP64")
    some = [RequestedOutput("is_anomaly", {"binary_data": True}), RequestedOutput("log_px", {"binary_data": False})]
    of_all = {"binary_data_output": True, "sequence_id": 7, "sequence_start": True, "user": "me", "timeout": 60_000_000}
    results = {
        "FP64": await infer(client, x),
        "FP32": await infer(client, tensor(rows, "FP32"), model_version="1"),
        "typed FP64": await infer(client, tensor(rows, "FP64", binary_data=False)),
        "typed FP32": await infer(client, tensor(rows, "FP32", binary_data=False)),
        "array": await infer(client, from_constructor(rows, rows)),
        "list": await infer(client, from_constructor(rows, rows.ravel().tolist())),
        "parameters": await infer(
            client, tensor(rows, "FP64", parameters={"content_type": "np"}), parameters=of_all, request_id="order 66"
        ),
        "some": await infer(client, x, request_outputs=some),
        "budget": await infer(client, x, parameters={"num_samples": 64}),
    }
    answered = results["parameters"]
    facts = {
        "live": await client.is_server_live(),
        "ready": await client.is_server_ready(),
        "model_ready": await client.is_model_ready("model"),
        "other_ready": await client.is_model_ready("other"),
        "answered": [answered.id, answered.model_name, answered.model_version],
        "order": [output.name for output in results["some"].outputs],
        "faults": await faults_of(client, rows),
    }
    arrays = {
        f"{name}.{output.name}": output.as_numpy() for name, result in results.items() for output in result.outputs
    }
    return arrays, facts


async def faults_of(client, rows):
    """Status and message of each kind of bad call."""
    x, infinite = tensor(rows, "FP64"), rows.copy()
    infinite[2, 1] = np.inf
    shared = {"shared_memory_region": "region", "shared_memory_byte_size": rows.nbytes}
    many = tensor(np.tile(rows, (200, 1)), "FP64")
    slow = InferRequest("model", [many], parameters={"num_samples": 2048})
    return {
        "model": await fault_of(infer(client, x, model="other")),
        "infinity": await fault_of(infer(client, tensor(infinite, "FP32"))),
        "integers": await fault_of(infer(client, tensor(rows, "INT64"))),
        "size": await fault_of(infer(client, with_wrong_size(rows))),
        "shared memory": await fault_of(infer(client, tensor(rows, "FP64", parameters=shared))),
        "output": await fault_of(infer(client, x, request_outputs=[RequestedOutput("log_p")])),
        "misspelt": await fault_of(infer(client, x, parameters={"num_sample": 64})),
        "timeout": await fault_of(client.infer(slow, timeout=0.2)),
    }


async def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    async with InferenceGRPCClient(target) as client:
        arrays, facts = await ask(client, np.load(folder / "rows.npy"))
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    asyncio.run(main())
