"""Requests that must be refused, with the right status and the wrong field's name, and nothing internal."""

import random
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.rpc.score_messages import count_rows, rows_of
from anomaly_vae.service.rpc.scoring_servicer import SERVICE
from anomaly_vae.service.settings import ServeConfig
from tests.support.data import NAMES, make_rows
from tests.support.running import AS_INSTALLED, INVALID, SERVING, columns, fault_of, running, score, send_bytes, tensor
from tests.support.wire import entry

NOT_FOUND = grpc.StatusCode.NOT_FOUND
ROWS = make_rows(6, seed=5)


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path, "--max-rows", "1000", "--max-columns", "50", command=AS_INSTALLED) as service:
        yield service


def with_cell(value, i=2, d=1):
    rows = ROWS.copy()
    rows[i, d] = value
    return rows


def reshaped(*shape, data=None, dtype="FP64"):
    return pb.Tensor(data=ROWS.tobytes() if data is None else data, dtype=dtype, shape=shape)


def renamed(*names):
    return columns(np.repeat(ROWS, 2, axis=1)[:, : len(names)], names)


def cut_column(d, data):
    found = columns(ROWS, NAMES)
    found.column[d].fp64 = data
    return found


def text_column(d):
    found = columns(ROWS, NAMES)
    found.column[d].strings.value.append("seven")
    return found


ERRORS = {
    "no rows": ({}, "rows", "set tensor or columns"),
    "no dtype": ({"tensor": pb.Tensor(data=b"", shape=[1, 5])}, "tensor.dtype", "is '', expected FP32, FP64 or UINT8"),
    "integers": ({"tensor": reshaped(6, 5, dtype="INT64")}, "tensor.dtype", "is 'INT64'"),
    "no shape": ({"tensor": reshaped()}, "tensor.shape", "has 0 dimensions, expected 2"),
    "one dimension": ({"tensor": reshaped(30)}, "tensor.shape", "has 1 dimensions"),
    "three dimensions": ({"tensor": reshaped(3, 2, 5)}, "tensor.shape", "has 3 dimensions"),
    "no row": ({"tensor": reshaped(0, 5, data=b"")}, "tensor.shape", "has 0 rows, a request may have 1 to 1000"),
    "negative rows": ({"tensor": reshaped(-6, -5)}, "tensor.shape", "has -6 rows"),
    "too many rows": ({"tensor": reshaped(1001, 5)}, "tensor.shape", "has 1001 rows"),
    "absurd rows": ({"tensor": reshaped(2**62, 5)}, "tensor.shape", f"has {2**62} rows"),
    "too few columns": ({"tensor": reshaped(10, 3)}, "tensor.shape", "has 3 columns, the model has 5"),
    "absurd columns": ({"tensor": reshaped(1, 2**63 - 1)}, "tensor.shape", "columns, the model has 5"),
    "short data": ({"tensor": reshaped(7, 5)}, "tensor.data", "has 240 bytes, expected 280: 7 x 5 FP64"),
    "long data": ({"tensor": reshaped(6, 5, dtype="FP32")}, "tensor.data", "has 240 bytes, expected 120"),
    "no data": ({"tensor": reshaped(6, 5, data=b"")}, "tensor.data", "has 0 bytes"),
    "infinity": ({"tensor": tensor(with_cell(np.inf))}, "tensor.data", "row 2, column 'flow' is inf"),
    "float32 infinity": ({"tensor": tensor(with_cell(-np.inf), "FP32")}, "tensor.data", "column 'flow' is -inf"),
    "infinity in a column": ({"columns": columns(with_cell(np.inf), NAMES)}, "columns", "row 2, column 'flow' is inf"),
    "no columns": ({"columns": pb.Columns()}, "columns", "5 of the model's 5 columns are missing"),
    "a missing column": ({"columns": renamed(*NAMES[:4])}, "columns", "1 of the model's 5 columns are missing: 'unit'"),
    "a column twice": ({"columns": renamed(*NAMES, "flow")}, "columns", "column 'flow' appears 2 times"),
    "a nameless column": ({"columns": renamed(*NAMES, "")}, "columns.column[5].name", "must have 1 to 256 characters"),
    "a long name": ({"columns": renamed(*NAMES, "x" * 257)}, "columns.column[5].name", "has 257"),
    "too many columns": ({"columns": pb.Columns(column=[pb.Column(name="x")] * 51)}, "columns", "has 51 columns"),
    "an empty column": ({"columns": cut_column(0, b"")}, "columns.column[0].fp64", "has 0 rows"),
    "a short column": ({"columns": cut_column(3, bytes(40))}, "columns.column[3].fp64", "'temperature' has 5 rows"),
    "a ragged column": ({"columns": cut_column(3, bytes(47))}, "columns.column[3].fp64", "expected a multiple of 8"),
    "text": ({"columns": text_column(2)}, "columns.column[2].strings",
             "row 0, column 'valve': 'seven' is not a number"),
    "a column of nothing": ({"columns": pb.Columns(column=[pb.Column(name=n) for n in NAMES])},
                            "columns.column[0].values", "'pressure' holds no values; set fp64"),
    "odd samples": ({"tensor": tensor(ROWS), "num_samples": 100}, "num_samples", "is 100, expected 0"),
    "a long id": ({"tensor": tensor(ROWS), "request_id": "x" * 129}, "request_id", "at most 128"),
    "an id of two lines": ({"tensor": tensor(ROWS), "request_id": "a\nb"}, "request_id", "printable"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_invalid_request_is_refused_with_its_field(channel, name):
    fields, field, text = ERRORS[name]
    code, details, found = fault_of(score, channel, **fields)
    assert (code, found) == (INVALID, [field]), details
    assert details.startswith(f"{field}: ")
    assert text in details


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", bytes(range(256))])
@pytest.mark.parametrize("method", ["Score", "GetModel"])
def test_bytes_that_are_no_message_are_invalid(channel, method, data):
    code, _, fields = fault_of(send_bytes, channel, data, f"/{SERVICE}/{method}")
    assert code is INVALID
    assert fields == (["ScoreRequest"] if method == "Score" else ["request"])


FLOOD = 2**19
FLOODS = {
    "columns": (entry(7, entry(1, b"") * FLOOD), "columns"),
    "columns in parts": (entry(7, entry(1, b"") * 30) * 2 + entry(7, entry(1, b"x" * FLOOD)), "columns"),
    "fields of a column": (entry(7, entry(1, b"\x22\x00" * FLOOD)), "columns.column"),
    "requests in parts": (entry(7, entry(1, b"")) * FLOOD, "ScoreRequest"),
    "strings": (entry(7, entry(1, entry(3, entry(1, b"") * FLOOD))), "columns.column.strings"),
    "dimensions": (entry(6, entry(3, b"\1" * FLOOD)), "tensor.shape"),
    "unpacked dimensions": (entry(6, b"\x18\1" * FLOOD), "tensor"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_refused_before_they_are_parsed(channel, service, name):
    data, field = FLOODS[name]
    code, details, found = fault_of(send_bytes, channel, data)
    assert (code, found) == (INVALID, [field]), details


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_even_if_it_is_small_when_compressed(service, compression):
    """A megabyte of gzip may hold a gigabyte: the limit is on the unpacked bytes."""
    with service.channel() as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        code, _, _ = fault_of(next, watch(entry(1, b"x" * 2**22), timeout=10, compression=compression))
        assert code is INVALID
        ask = channel.unary_unary(f"/{SERVICE}/Score")
        code, _, _ = fault_of(ask, bytes(64 * 2**20), timeout=30, compression=compression)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert psutil.Process(service.process.pid).memory_info().rss < 300 * 2**20


def test_long_texts_of_a_caller_come_back_short(channel):
    """gRPC clients replace the status if the trailing metadata has over 8 KiB."""
    for letter in ("x", "ü", "\N{GRINNING FACE}"):
        names = [f"{letter * 250}{i}" for i in range(10)]
        code, details, _ = fault_of(score, channel, columns=renamed(*names))
        assert code is INVALID
        assert len(details.encode()) < 600


def random_request(rng):
    """A request with one to three random changes, most of which make it invalid."""
    request = pb.ScoreRequest(tensor=tensor(ROWS), request_id=str(rng.random()))
    if rng.random() < 0.4:
        request.columns.CopyFrom(columns(ROWS, NAMES))
    for _ in range(rng.randint(1, 3)):
        rng.choice([spoil_tensor, spoil_columns, spoil_values, spoil_options])(rng, request)
    data = bytearray(request.SerializeToString())
    if rng.random() < 0.2:
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def spoil_tensor(rng, request):
    tensor = request.tensor
    match rng.randrange(4):
        case 0:
            tensor.dtype = rng.choice(["FP16", "INT8", "fp64", "", "<f8", "BYTES" * 9])
        case 1:
            del tensor.shape[:]
            tensor.shape.extend(rng.choice([0, 1, 5, 6, -1, 2**62, -(2**63)]) for _ in range(rng.randrange(5)))
        case 2:
            tensor.data = rng.randbytes(rng.choice([0, 1, 239, 240, 241, 4000]))
        case 3:
            tensor.data = tensor.data[: rng.randrange(240)]


def spoil_columns(rng, request):
    if not request.columns.column:
        request.columns.CopyFrom(columns(ROWS, NAMES))
    column = rng.choice(request.columns.column)
    match rng.randrange(4):
        case 0:
            column.name = rng.choice(["", "flow", "Flow", "x" * 300, "é\n", "unit"])
        case 1:
            column.fp64 = rng.randbytes(rng.choice([0, 7, 8, 40, 48, 56]))
        case 2:
            column.strings.value.extend(["a"] * rng.randrange(9))
        case 3:
            del request.columns.column[rng.randrange(len(request.columns.column)) :]


def spoil_values(rng, request):
    bad = rng.choice([np.nan, np.inf, -np.inf, 1e308, 5e-324])
    rows = with_cell(bad, rng.randrange(6), rng.randrange(5))
    if request.WhichOneof("rows") == "columns":
        request.columns.CopyFrom(columns(rows, NAMES))
    else:
        request.tensor.CopyFrom(tensor(rows, rng.choice(["FP32", "FP64"])))


def spoil_options(rng, request):
    match rng.randrange(4):
        case 0:
            request.num_samples = rng.choice([-1, 1, 15, 17, 5000, 2**31 - 1, -(2**31)])
        case 1:
            request.model_name = rng.choice(["Model", "../model", "x" * 3000, "\0"])
        case 2:
            request.model_version = rng.choice(["2", "latest", "-1", " 1"])
        case 3:
            request.request_id = rng.choice(["\r\nSet-Cookie: x", "y" * 129, "\N{SNOWMAN}" * 128])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_thousand_random_requests_leave_the_service_serving(service):
    """No INTERNAL and no UNKNOWN, and each refusal names one field; some calls are cancelled at random times."""
    rng = random.Random(20)
    refused = 0
    with service.channel() as channel:
        for i in range(1000):
            if i % 10 == 9:
                call = ScoringServiceStub(channel).Score.future(
                    pb.ScoreRequest(tensor=tensor(np.tile(ROWS, (100, 1)))), timeout=rng.choice([0.001, 0.005, 0.02])
                )
                if rng.random() < 0.5:
                    call.cancel()
                continue
            try:
                send_bytes(channel, random_request(rng))
            except grpc.RpcError as error:
                code, details, fields = fault_of(raise_again, error)
                assert code in (INVALID, NOT_FOUND), details
                assert len(fields) == 1, details
                assert details.startswith(f"{fields[0]}: ")
                refused += 1
    assert 500 < refused < 900
    assert service.health() == SERVING
    for code in ("Internal", "Unknown"):
        assert service.metric("grpc_server_handled_total", grpc_code=code) == 0


def raise_again(error):
    raise error


def test_refused_rows_are_counted_if_their_number_is_certain(model_path):
    with running(model_path) as service, service.channel() as channel:
        fault_of(score, channel, tensor=tensor(with_cell(np.inf)))
        fault_of(score, channel, tensor=reshaped(10, 3))
        fault_of(score, channel, columns=renamed(*NAMES[:4]))
        fault_of(score, channel, tensor=tensor(ROWS), num_samples=17)
        assert service.metric("anomaly_vae_rows_total", outcome="invalid") == 28
        for shape in ([2**62, 5], [-6, -5], [7, 5], [30]):
            fault_of(score, channel, tensor=reshaped(*shape))
        fault_of(send_bytes, channel, b"\xff")
        assert service.metric("anomaly_vae_rows_total", outcome="invalid") == 28
        assert service.metric("grpc_server_handled_total", grpc_code="InvalidArgument") == 9
        assert service.metric("anomaly_vae_queue_rows") == 0


MIXED = Schema(
    columns=(
        Column(name="price", kind="continuous"),
        Column(name="when.time_of_day", kind="cyclic", period=24.0),
        Column(name="when.trend", kind="continuous"),
        Column(name="town", kind="categorical", categories=("Oslo", "Rome")),
        Column(name="size", kind="continuous"),
    ),
    inputs=(
        Input(name="row", reading=LeftOut(why="numbers the rows")),
        Input(name="price", reading=NumberReading(decimal=",", thousands=".", affixes=("€",))),
        Input(name="when", reading=TimeReading(zone="Europe/Oslo", parts=("time_of_day", "trend"))),
        Input(name="town", reading=TextReading()),
        Input(name="size", reading=NumberReading()),
    ),
    missing_values=("-1",),
)
LIMITS = ServeConfig(model=Path("model"))


def texts_of(**cells):
    """Return a request with a column of texts for each name; numbers become bytes."""
    found = pb.Columns()
    for name, values in cells.items():
        if isinstance(values[0], str):
            found.column.add(name=name, strings=pb.Strings(value=values))
        else:
            found.column.add(name=name, fp64=np.array(values, "<f8").tobytes())
    return pb.ScoreRequest(columns=found)


CELLS = {
    "price": ["1.234,5 €", "?"],
    "when": ["1970-01-02 00:00Z", "NA"],
    "town": ["Rome", "unknown"],
    "size": [2.5, np.nan],
}


def test_columns_of_texts_are_read_as_the_training_table_was():
    """Midnight in UTC was 1:00 in Oslo. "unknown" is a category, and "?" is a missing number."""
    request = texts_of(**CELLS)
    assert count_rows(request, MIXED) == 2
    expected = [[1234.5, 1.0, 1.0 + 1 / 24, 1.0, 2.5], [np.nan, np.nan, np.nan, -1.0, np.nan]]
    np.testing.assert_allclose(rows_of(request, MIXED, LIMITS), expected, rtol=1e-15)
    numbers = texts_of(**CELLS | {"price": [1234.5, -1.0]})
    np.testing.assert_array_equal(rows_of(numbers, MIXED, LIMITS), rows_of(request, MIXED, LIMITS))


@pytest.mark.parametrize(
    ("cells", "field", "message"),
    [
        ({"price": ["1200.25", "1"]}, "columns.column[0].strings", "row 0, column 'price': '1200.25' is not a number"),
        ({"price": ["1", "9" * 400]}, "columns.column[0].strings", "row 1, column 'price': '9999"),
        ({"price": [np.inf, 1.0]}, "columns", "row 0, column 'price' is inf"),
        ({"size": [1.0, -np.inf]}, "columns", "row 1, column 'size' is -inf"),
        ({"price": ["1e999", "1"]}, "columns", "row 0, column 'price' is inf"),
        ({"when": ["soon", "NA"]}, "columns.column[1].strings", "row 0, column 'when': 'soon' is not a date or time"),
        (
            {"when": [0.0, 1.0]},
            "columns.column[1].fp64",
            "holds numbers (fp64), expected dates and times",
        ),
        ({"town": [0.0, 1.0]}, "columns.column[2].fp64", "holds numbers (fp64), expected text as in training"),
        ({"town": ["Rome"]}, "columns.column[2].strings", "'town' has 1 rows, 'price' has 2"),
    ],
)
def test_cells_that_do_not_fit_their_column_are_refused_by_row_and_column(cells, field, message):
    with pytest.raises(CallError) as caught:
        rows_of(texts_of(**CELLS | cells), MIXED, LIMITS)
    assert caught.value.field == field
    assert message in str(caught.value)


def test_a_zone_that_the_machine_does_not_have_is_named():
    reading = TimeReading(zone="Nowhere/City", parts=("time_of_day", "trend"))
    inputs = tuple(Input(name=each.name, reading=reading) if each.name == "when" else each for each in MIXED.inputs)
    schema = Schema(columns=MIXED.columns, inputs=inputs)
    with pytest.raises(CallError, match="there is no time zone 'Nowhere/City' on this machine"):
        rows_of(texts_of(**CELLS), schema, LIMITS)
