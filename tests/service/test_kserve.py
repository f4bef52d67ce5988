"""KServe's unmodified client gets the scorer's bits, whichever way its input was made, and errors that say what to do.

It lives in an environment and a process of its own: it wants an older protobuf, and its symbols clash with ours. It has
no call that blocks: its only gRPC client is the asynchronous one.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.service.inference_convert import OUTPUTS
from tests.service.running import running

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Skip where there is no kserve, but never in CI."""
    command = [PYTHON, "-c", "import importlib.metadata; importlib.metadata.version('kserve')"]
    if not (PYTHON.exists() and subprocess.run(command, check=False).returncode == 0):
        message = f"no kserve at {PYTHON}: `make test` installs it, which needs a package registry"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


@pytest.fixture(scope="module")
def answers(environment, model_path, new_rows, tmp_path_factory):
    """Arrays by "call.output", and all else that the client was told."""
    folder = tmp_path_factory.mktemp("kserve")
    np.save(folder / "rows.npy", new_rows)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANOMALY_VAE_"))}
    with running(model_path) as service:
        command = [PYTHON, Path(__file__).with_name("ask_by_kserve.py"), service.target, folder]
        done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
    with np.load(folder / "arrays.npz") as arrays:
        return dict(arrays), json.loads((folder / "told.json").read_text())


@pytest.fixture
def arrays(answers):
    return answers[0]


@pytest.fixture
def told(answers):
    return answers[1]


@pytest.mark.parametrize("call", ["FP64", "typed FP64", "array", "list", "parameters", "FP32", "typed FP32"])
def test_rows_score_as_in_the_scorer_bit_for_bit(arrays, scorer, new_rows, call):
    expected = scorer.score(new_rows.astype(np.float32) if call.endswith("FP32") else new_rows)
    for name in OUTPUTS:
        found, values = arrays[f"{call}.{name}"], getattr(expected, name)
        assert (found.dtype, found.tobytes()) == (values.dtype, values.tobytes()), name


def test_only_the_outputs_asked_for_come_in_the_order_asked(arrays, told, scorer, new_rows):
    assert told["order"] == ["is_anomaly", "log_px"]
    assert arrays["some.log_px"].tobytes() == scorer.score(new_rows).log_px.tobytes()


def test_another_budget_gives_what_needs_no_calibration(arrays, scorer, new_rows):
    found = {name.removeprefix("budget.") for name in arrays if name.startswith("budget.")}
    assert found == {"log_px", "elbo", "std_error", "score"}
    assert arrays["budget.log_px"].tobytes() == scorer.score_rows(new_rows, 64).log_px.tobytes()


def test_the_reply_says_what_scored(told):
    assert told["answered"] == ["order 66", "model", "1"]


def test_the_server_and_its_model_are_live_and_ready_and_no_other(told):
    assert told["live"] is told["ready"] is told["model_ready"] is True
    assert told["other_ready"] is False


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("model", "NOT_FOUND", "model_name: 'other' is not served here, 'model' is"),
        ("infinity", "INVALID_ARGUMENT", "raw_input_contents[0]: row 2, column 'flow' is inf"),
        ("integers", "INVALID_ARGUMENT", "inputs[0].datatype: is 'INT64', expected FP32 or FP64"),
        ("size", "INVALID_ARGUMENT", "inputs[0].parameters.binary_data_size: is 2992, the values have 3000 bytes"),
        ("shared memory", "INVALID_ARGUMENT", "inputs[0].parameters: 'shared_memory_"),
        ("output", "INVALID_ARGUMENT", "outputs[0].name: is 'log_p', expected one of log_px"),
        ("misspelt", "INVALID_ARGUMENT", "parameters: 'num_sample' is not known here; name it num_samples"),
        ("timeout", "DEADLINE_EXCEEDED", "Deadline Exceeded"),
    ],
)
def test_errors_reach_the_client_with_status_and_message(told, name, status, text):
    found = told["faults"][name]
    assert found[0] == status, found
    assert text in found[1]
