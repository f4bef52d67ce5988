"""Small valid requests and a small bundle, from which the fuzzers start."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.service.pb import inference_pb2
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.models import ALL, rows_of, schema_of

__all__ = ["LIMITS", "SCHEMA", "infer_seeds", "request_seeds", "small_bundle"]

# All kinds of columns, and a table in which one of them is a price, one a time, and one is left out.
PRICE = NumberReading(decimal=",", thousands=".", affixes=("€",))
WHEN = TimeReading(zone="Europe/Oslo", parts=("time_of_day",))
COLUMNS = (*schema_of(*ALL).columns, Column(name="when.time_of_day", kind="cyclic", period=24.0))
SCHEMA = Schema(
    columns=COLUMNS,
    inputs=(
        Input(name="row", reading=LeftOut(why="numbers the rows")),
        *(
            msgspec.structs.replace(each, reading=PRICE) if each.name == "pressure" else each
            for each in schema_of(*ALL).all_inputs
        ),
        Input(name="when", reading=WHEN),
    ),
    missing_values=("-999",),
)
LIMITS = ServeConfig(model=Path("model"), max_rows=50, max_columns=20)


def request_seeds() -> list[pb.ScoreRequest]:
    """Return valid requests: a tensor of each type, columns of numbers, texts and times; some cells are missing."""
    rows = _rows(6)
    rows[1, 2] = rows[4, 0] = np.nan
    tensors = [
        pb.Tensor(data=rows.astype(kind).tobytes(), dtype=name, shape=rows.shape)
        for kind, name in (("<f4", "FP32"), ("<f8", "FP64"))
    ]
    tensors.append(pb.Tensor(data=_bytes(rows).tobytes(), dtype="UINT8", shape=rows.shape))
    columns = pb.Columns()
    for d, column in enumerate(SCHEMA.columns):
        if column.name == "pressure":
            texts = [f"{value:,.2f} €".translate(str.maketrans(",.", ".,")) for value in rows[:, d]]
            columns.column.add(name=column.name, strings=pb.Strings(value=[*texts[:-1], "-999"]))
        elif column.name == "when.time_of_day":
            times = [
                "1970-01-01",
                "2024-01-01 12:30:15.25",
                "2024-07-01T00:00Z",
                "2024-03-31T01:00:00+02:00",
                "NA",
                "-",
            ]
            columns.column.add(name="when", strings=pb.Strings(value=times))
        elif column.categories is None:
            columns.column.add(name=column.name, fp64=rows[:, d].tobytes())
        else:
            texts = ["" if np.isnan(code) else column.categories[int(code)] for code in rows[:, d]]
            columns.column.add(name=column.name, strings=pb.Strings(value=texts))
    columns.column.add(name="ignored", fp64=bytes(8 * (len(rows) + 1)))
    options = {"request_id": "a", "num_samples": 64, "model_version": "1"}
    return [*(pb.ScoreRequest(tensor=tensor, **options) for tensor in tensors), pb.ScoreRequest(columns=columns)]


def infer_seeds() -> list[inference_pb2.ModelInferRequest]:
    """Return valid requests of the Open Inference Protocol, with raw and with typed contents."""
    rows, found = _rows(6), []
    for kind, name in (("<f4", "FP32"), ("<f8", "FP64")):
        raw, typed = (inference_pb2.ModelInferRequest(id="a", model_name="model") for _ in range(2))
        for request in (raw, typed):
            request.parameters["timeout"].int64_param = 10**6
            request.inputs.add(name="x", datatype=name, shape=rows.shape)
            request.outputs.add(name="log_px")
        raw.raw_input_contents.append(rows.astype(kind).tobytes())
        getattr(typed.inputs[0].contents, f"{name.lower()}_contents").extend(rows.ravel().tolist())
        found += [raw, typed]
    for request in found[:2]:
        as_bytes = inference_pb2.ModelInferRequest.FromString(request.SerializeToString())
        as_bytes.inputs[0].datatype = "UINT8"
        if request.raw_input_contents:
            as_bytes.raw_input_contents[0] = _bytes(rows).tobytes()
        else:
            as_bytes.inputs[0].ClearField("contents")
            as_bytes.inputs[0].contents.uint_contents.extend(_bytes(rows).ravel().tolist())
        found.append(as_bytes)
    return found


def _bytes(rows: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.clip(rows, 0.0, 255.0)).astype(np.uint8)


def _rows(n: int) -> np.ndarray:
    return np.column_stack([rows_of(n, *ALL), np.linspace(0.0, 23.0, n)])


def small_bundle(path: Path) -> Path:
    """Train a model of a few hundred weights for 20 steps and write its bundle."""
    rows = rows_of(200, "gaussian", "bernoulli", "count", "logistic")
    config = TrainConfig(random_state=1, max_steps=20, target_fpr=0.1, search="off", hidden=(4,), latent_dim=1)
    write_bundle(train_model(rows, ("pressure", "is_open", "visits", "year"), config).bundle, path)
    return path
