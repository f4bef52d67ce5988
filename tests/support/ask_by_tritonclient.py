"""Calls a service through tritonclient. Runs in an environment that has tritonclient and does not have this package.

Usage: ask_by_tritonclient.py TARGET FOLDER, where FOLDER holds rows.npy; writes arrays.npz and facts.json there.
"""

import asyncio
import json
import queue
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
OUTPUTS = ("log_px", "elbo", "std_error", "p_value", "score", "is_anomaly")


def tensor(rows, datatype):
    made = triton.InferInput("x", rows.shape, datatype)
    made.set_data_from_numpy(rows.astype(TYPES[datatype]))
    return made


def arrays_of(result):
    return {name: result.as_numpy(name) for name in OUTPUTS if result.as_numpy(name) is not None}


def fault_of(call, *arguments, **options):
    """Status and message of a call that must fail."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def stream(client, rows, timeout=None, **options):
    """The answers to five requests of a stream, the third of them bad: results, or the message of an error."""
    x, answers, infinite = tensor(rows, "FP64"), queue.Queue(), np.full(rows.shape, np.inf)
    client.start_stream(lambda result, error: answers.put((result, error)), stream_timeout=timeout)
    for i in range(5):
        inputs = [tensor(infinite, "FP32") if i == 2 else x]
        client.async_stream_infer("model", inputs, request_id=str(i), **options)
    client.stop_stream()
    return [error.message() if error else result for result, error in list(answers.queue)]


async def stream_asynchronously(target, rows):
    """The same by Triton's other client."""

    async def requests():
        for i in range(5):
            bad = np.full(rows.shape, np.inf) if i == 2 else rows
            yield {"model_name": "model", "inputs": [tensor(bad, "FP64")], "request_id": str(i)}

    async with triton_aio.InferenceServerClient(target) as client:
        answers = [answer async for answer in client.stream_infer(requests())]
    return [error.message() if error else result for result, error in answers]


def ask_streams(client, target, rows):
    """Arrays of every stream by name, and the other fields of its responses."""
    streams = {
        "stream": stream(client, rows),
        "stream with final responses": stream(client, rows, enable_empty_final_response=True),
        "stream with a sequence": stream(client, rows, sequence_id=3, sequence_start=True, sequence_end=True),
        "stream with a timeout": stream(client, rows, timeout=60, priority=1),
        "asynchronous stream": asyncio.run(stream_asynchronously(target, rows)),
    }
    arrays, facts = {}, {}
    for name, answers in streams.items():
        facts[name] = []
        for i, answer in enumerate(answers):
            if isinstance(answer, str):
                facts[name].append(answer)
                continue
            response = answer.get_response()
            facts[name].append([response.id, response.parameters["triton_final_response"].bool_param])
            arrays |= {f"{name} {i}.{output}": values for output, values in arrays_of(answer).items()}
    return arrays, facts


def ask(client, rows):
    """Arrays by name, and everything else by name."""
    x, names = tensor(rows, "FP64"), ("is_anomaly", "log_px")
    some = [triton.InferRequestedOutput(name) for name in names]
    answered = client.infer("model", [x], outputs=some, request_id="order 66", priority=3, timeout=60_000_000)
    answers = queue.Queue()
    client.async_infer("model", [x], lambda result, error: answers.put((result, error)), request_id="later")
    later, error = answers.get(timeout=60)
    results = {
        "FP64": client.infer("model", [x]),
        "FP32": client.infer("model", [tensor(rows, "FP32")], model_version="1", client_timeout=60),
        "some": answered,
        "async": later,
        "budget": client.infer("model", [x], parameters={"num_samples": 64}),
        "gzip": client.infer("model", [x], compression_algorithm="gzip"),
    }
    facts = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready("model"), client.is_model_ready("model", "1")],
        "other_ready": client.is_model_ready("other"),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata("model", as_json=True),
        "config": client.get_model_config("model", as_json=True),
        "id": [answered.get_response().id, later.get_response().id],
        "order": [output.name for output in answered.get_response().outputs],
        "async_error": error,
    }
    arrays = {
        f"{name}.{output}": values for name, result in results.items() for output, values in arrays_of(result).items()
    }
    return arrays, facts | {"faults": faults_of(client, rows)}


def faults_of(client, rows):
    """Status and message of each kind of bad call."""
    x, many = tensor(rows, "FP64"), tensor(np.tile(rows, (200, 1)), "FP64")
    infinite = rows.copy()
    infinite[2, 1] = np.inf
    shared = triton.InferInput("x", rows.shape, "FP64")
    shared.set_shared_memory("region", rows.nbytes)
    slow = {"parameters": {"num_samples": 2048}}
    return {
        "model": fault_of(client.infer, "other", [x]),
        "version": fault_of(client.get_model_metadata, "model", "2"),
        "infinity": fault_of(client.infer, "model", [tensor(infinite, "FP32")]),
        "integers": fault_of(client.infer, "model", [tensor(rows, "INT64")]),
        "shared memory": fault_of(client.infer, "model", [shared]),
        "classes": fault_of(client.infer, "model", [x], outputs=[triton.InferRequestedOutput("elbo", class_count=2)]),
        "output": fault_of(client.infer, "model", [x], outputs=[triton.InferRequestedOutput("log_p")]),
        "timeout": fault_of(client.infer, "model", [many], timeout=200_000, **slow),
        "client_timeout": fault_of(client.infer, "model", [many], client_timeout=0.2, **slow),
        "explicit": fault_of(client.load_model, "model"),
        "unoffered": fault_of(client.get_log_settings),
    }


def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    with triton.InferenceServerClient(target) as client:
        rows = np.load(folder / "rows.npy")
        before = client.get_inference_statistics(as_json=True)
        streamed, stream_facts = ask_streams(client, target, rows)
        statistics = [before, client.get_inference_statistics("model", "1", as_json=True)]
        arrays, facts = ask(client, rows)
        arrays, facts = arrays | streamed, facts | {"streams": stream_facts, "statistics": statistics}
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
