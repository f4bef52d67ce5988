"""One table in every format and every kind of frame: the same bits from one model, and the same model from training."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from anomaly_vae import Scorer, VAEDetector, load
from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.client import Client
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.command_line import in_process
from tests.support.running import running

QUICK = ("--search", "off", "--max-steps", "60", "--target-fpr", "0.1", "--force", "--quiet")
NAMES = ["log_px", "elbo", "p_value"]


def table(day=0, num_rows=240):
    """Return numbers, whole numbers, texts, truth values and times; a tenth of the cells is missing."""
    rng = np.random.default_rng(day)
    t = rng.normal(size=num_rows)
    moments = np.datetime64("2024-01-01T00:00:00", "us") + 7 * 3600 * 1_000_000 * np.arange(num_rows)
    frame = pd.DataFrame(
        {
            "amount": pd.Series(1000.0 * t + rng.normal(size=num_rows), dtype="Float64"),
            "visits": pd.Series(rng.poisson(5.0 + np.abs(t)), dtype="Int64"),
            "city": pd.Series(rng.choice(["Malmö", "Oslo", "São Paulo", "東京"], num_rows), dtype=object),
            "member": pd.Series(t > 0.0, dtype="boolean"),
            "when": pd.Series(moments),
        }
    )
    return frame.mask(rng.random(frame.shape) < 0.1)


def decimal_commas(frame):
    return frame.to_csv(index=False, sep=";", decimal=",", float_format=repr_with_comma)


def repr_with_comma(value):
    return repr(float(value)).replace(".", ",")


def plain(frame, **options):
    return frame.to_csv(index=False, float_format=lambda value: repr(float(value)), **options)


def arrow(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


def zstd(frame, path):
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(plain(frame).encode())


def stream(frame, path):
    data = arrow(frame)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, data.schema) as writer:
        writer.write_table(data, max_chunksize=17)


def json_lines(frame, path):
    rows = frame.astype({"when": str}).astype(object).where(frame.notna(), None).to_dict("records")
    path.write_text("".join(json.dumps(row, ensure_ascii=row["visits"] == 5) + "\n" for row in rows))


FILES = {
    "commas.csv": lambda frame, path: path.write_text(plain(frame)),
    "wide.csv": lambda frame, path: path.write_bytes(plain(frame).encode("utf-16")),
    "semicolons.csv": lambda frame, path: path.write_text(decimal_commas(frame)),
    "tabs.tsv": lambda frame, path: path.write_text(plain(frame, sep="\t", na_rep="n/a")),
    "packed.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(plain(frame).encode())),
    "packed.csv.zst": zstd,
    "t.parquet": lambda frame, path: frame.to_parquet(path, index=False),
    "t.feather": lambda frame, path: feather.write_feather(arrow(frame), path),
    "t.arrows": stream,
    "t.jsonl": json_lines,
    "dictionary.parquet": lambda frame, path: pq.write_table(arrow(frame.astype({"city": "category"})), path),
}

FRAMES = {
    "pandas": lambda frame: frame,
    "pandas with plain types": lambda frame: frame.astype(
        {"amount": float, "visits": float, "member": object, "city": "category"}
    ),
    "polars": lambda frame: pl.from_arrow(arrow(frame)),
    "a lazy frame of polars": lambda frame: pl.from_arrow(arrow(frame)).lazy(),
    "an Arrow table": arrow,
    "an Arrow table in parts": lambda frame: pa.concat_tables([arrow(frame)[:100], arrow(frame)[100:]]),
    "an Arrow record batch": lambda frame: arrow(frame).to_batches()[0],
    "columns in another order": lambda frame: frame[frame.columns[::-1]].assign(other=1),
    "a numpy array of objects": lambda frame: frame.astype(object).where(frame.notna(), None).to_numpy(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="module")
def model(folder):
    FILES["commas.csv"](table(), folder / "train.csv")
    done = in_process("train", folder / "train.csv", "-o", folder / "model", *QUICK)
    assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.fixture(scope="module")
def expected(model):
    """The scores of the rows of another day, as the model gives them for a DataFrame."""
    scores = load(model).score(table(1))
    assert 0.0 < scores.is_anomaly.mean() < 0.5
    return scores


def assert_same(scores, expected):
    for name in NAMES:
        assert np.asarray(scores[name], np.float64).tobytes() == getattr(expected, name).tobytes(), name


@pytest.mark.parametrize("name", FILES)
def test_every_file_format_gives_the_same_bits(model, expected, tmp_path, name):
    FILES[name](table(1), tmp_path / name)
    done = in_process("score", model, tmp_path / name, "-o", tmp_path / "scores.parquet", "--quiet")
    assert done.returncode == 0, done.stderr
    assert_same(pq.read_table(tmp_path / "scores.parquet").select(NAMES).to_pydict(), expected)


@pytest.mark.parametrize("name", FRAMES)
def test_every_kind_of_frame_gives_the_same_bits(model, expected, name):
    scores = load(model).score(FRAMES[name](table(1)))
    assert_same({name: getattr(scores, name) for name in NAMES}, expected)


def test_the_service_gives_the_same_bits_for_a_frame_and_for_columns_of_texts(model, expected):
    frame = table(1)
    texts = frame.astype({"when": str}).astype(object).where(frame.notna(), "").map(text_of)
    columns = [pb.Column(name=name, strings=pb.Strings(value=texts[name].tolist())) for name in frame]
    mixed = [*columns[1:], pb.Column(name="amount", fp64=frame["amount"].to_numpy(float, na_value=np.nan).tobytes())]
    with running(model) as service:
        for data in (frame, FRAMES["polars"](frame), FRAMES["an Arrow table"](frame)):
            with Client(service.target) as client:
                scores = client.score(data)
            assert_same({name: getattr(scores, name) for name in NAMES}, expected)
        with service.channel() as channel:
            for request in (columns, mixed):
                reply = ScoringServiceStub(channel).Score(pb.ScoreRequest(columns=pb.Columns(column=request)))
                assert_same({name: getattr(reply, name) for name in NAMES}, expected)


def text_of(value):
    return repr(value) if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", ["semicolons.csv", "t.parquet", "t.feather", "t.jsonl"])
def test_training_on_every_format_gives_the_same_model(model, expected, tmp_path, name):
    """Only what the file itself is like differs: its encoding and its decimal mark."""
    FILES[name](table(), tmp_path / name)
    done = in_process("train", tmp_path / name, "-o", tmp_path / "model", *QUICK)
    assert done.returncode == 0, done.stderr
    scores = load(tmp_path / "model").score(table(1))
    assert_same({name: getattr(scores, name) for name in NAMES}, expected)
    schemas = [read_bundle(path).manifest.schema for path in (model, tmp_path / "model")]
    first, second = (structs.replace(schema, encoding=None, inputs=()) for schema in schemas)
    assert first == second
    if name != "semicolons.csv":
        assert schemas[0].inputs == schemas[1].inputs


def test_training_on_a_frame_gives_the_same_model(model, expected):
    detector = VAEDetector(search="off", max_steps=60, target_fpr=0.1, random_state=0).fit(table())
    scores = Scorer(detector.bundle_).score(table(1))
    assert_same({name: getattr(scores, name) for name in NAMES}, expected)
