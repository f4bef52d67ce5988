"""Windows and images by every way into a model: the scores are those of its flat rows, bit for bit.

The networks here are those of a table: what is tested is the way of the rows to them.
"""

import asyncio

import grpc
import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.errors import InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.inference_requests import infer, request, values_of
from tests.support.inference_requests import shaped as infer_shaped
from tests.support.other_clients import ask_by, require_client
from tests.support.running import INVALID, assert_same_bits, columns, fault_of, running, score
from tests.support.shaped import IMAGE, WINDOW, images, shaped_bundle, windows

KINDS = {"UINT8": "u1", "FP32": "<f4", "FP64": "<f8"}
IMAGES, WINDOWS = images(25, seed=1), windows(25, seed=1)
FORMS = {"shaped": (25, 3, 4, 1), "without channels": (25, 3, 4), "flat": (25, 12)}


@pytest.fixture(scope="module")
def image_bundle():
    return shaped_bundle(IMAGE, images(300))


@pytest.fixture(scope="module")
def window_bundle():
    return shaped_bundle(WINDOW, windows(300))


def served(bundle, folder):
    write_bundle(bundle, folder / "model")
    return running(folder / "model", "--max-rows", 30)


@pytest.fixture(scope="module")
def image_service(image_bundle, tmp_path_factory):
    with served(image_bundle, tmp_path_factory.mktemp("image")) as service:
        yield service


@pytest.fixture(scope="module")
def window_service(window_bundle, tmp_path_factory):
    with served(window_bundle, tmp_path_factory.mktemp("window")) as service:
        yield service


@pytest.fixture(scope="module")
def image_scores(image_bundle):
    return Scorer(image_bundle).score(IMAGES.reshape(25, 12).astype(np.float64))


@pytest.fixture(scope="module")
def window_scores(window_bundle):
    return Scorer(window_bundle).score(WINDOWS.reshape(25, 8))


def tensor(array, dtype):
    return pb.Tensor(data=array.astype(KINDS[dtype]).tobytes(), dtype=dtype, shape=array.shape)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", KINDS)
def test_images_score_alike_in_every_form_by_both_services(image_service, image_scores, form, dtype):
    array = IMAGES.reshape(FORMS[form])
    with image_service.channel() as channel:
        assert_same_bits(score(channel, tensor=tensor(array, dtype)), image_scores)
        (streamed,) = ScoringServiceStub(channel).ScoreStream(iter([pb.ScoreRequest(tensor=tensor(array, dtype))]))
        assert_same_bits(streamed, image_scores)
        data = array.astype(KINDS[dtype]).tobytes()
        reply = infer(channel, request(**infer_shaped(*array.shape, datatype=dtype, data=data)))
    assert values_of(reply)["log_px"].tobytes() == image_scores.log_px.tobytes()


@pytest.mark.parametrize("array", [WINDOWS, WINDOWS.reshape(25, 8)])
def test_windows_score_alike_in_every_form(window_service, window_scores, array):
    with window_service.channel() as channel:
        assert_same_bits(score(channel, tensor=tensor(array, "FP64")), window_scores)
        named = columns(WINDOWS.reshape(25, 8)[:, ::-1], [c.name for c in window_columns(channel)][::-1])
        assert_same_bits(score(channel, columns=named), window_scores)


def window_columns(channel):
    return ScoringServiceStub(channel).GetModel(pb.GetModelRequest(), timeout=60).columns


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64])
def test_a_scorer_and_both_clients_take_every_form(image_bundle, image_service, image_scores, form, kind):
    array = IMAGES.reshape(FORMS[form]).astype(kind)
    assert_same_bits(Scorer(image_bundle).score(array), image_scores)
    with Client(image_service.target) as client:
        assert_same_bits(client.score(array), image_scores)
        assert client.flag(array).is_anomaly.tolist() == image_scores.is_anomaly.tolist()
    assert_same_bits(asyncio.run(score_by_async_client(image_service.target, array)), image_scores)


async def score_by_async_client(target, array):
    async with AsyncClient(target) as client:
        return await client.score(array)


def test_many_images_are_sent_in_parts(image_bundle, image_service):
    """The service takes 30 rows a request."""
    many = images(100, seed=2)
    with Client(image_service.target) as client:
        assert_same_bits(client.score(many), Scorer(image_bundle).score(many))


def test_a_missing_pixel_is_sent_as_nan(image_bundle, image_service):
    holes = IMAGES.astype(np.float64)
    holes[3, 1, 2, 0] = np.nan
    with Client(image_service.target) as client:
        found = client.score(holes)
    assert_same_bits(found, Scorer(image_bundle).score(holes.reshape(25, 12)))
    assert found.log_px[3] != Scorer(image_bundle).score(IMAGES).log_px[3]


def test_clients_know_the_shape(image_bundle, image_service, window_bundle, window_service):
    """With it, a program that makes windows or images needs no bundle."""
    for service, bundle in ((image_service, image_bundle), (window_service, window_bundle)):
        with Client(service.target) as client:
            assert client.schema == bundle.manifest.schema
            assert client.shape == bundle.manifest.schema.shape
        assert asyncio.run(schema_by_async_client(service.target)) == bundle.manifest.schema


async def schema_by_async_client(target):
    async with AsyncClient(target) as client:
        return await client.get_schema()


def test_flat_rows_of_windows_need_no_further_check(window_service, window_scores):
    """``score_rows`` of a client and of a scorer take the same rows."""
    with Client(window_service.target) as client:
        assert_same_bits(client.score_rows(WINDOWS.reshape(25, 8)), window_scores)


def test_another_shape_is_refused_with_those_that_are_accepted(image_service):
    with Client(image_service.target) as client, pytest.raises(InvalidInput, match=r"images of shape \[N, 12\], "):
        client.score(IMAGES.reshape(25, 4, 3))
    with image_service.channel() as channel:
        transposed = tensor(IMAGES.reshape(25, 4, 3, 1), "UINT8")
        code, details, fields = fault_of(score, channel, tensor=transposed)
        assert (code, fields) == (INVALID, ["tensor.shape"])
        assert "is [25, 4, 3, 1], expected [N, 12], [N, 3, 4, 1] or [N, 3, 4]; see GetModel" in details
        wrong = request(**infer_shaped(25, 4, 3, 1, datatype="UINT8", data=IMAGES.tobytes()))
        code, details, fields = fault_of(infer, channel, wrong)
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["inputs[0].shape"])
        assert "see ModelMetadata" in details


@pytest.mark.parametrize("package", ["tritonclient", "kserve"])
def test_clients_of_other_projects_send_images(package, image_bundle, image_scores, tmp_path):
    """Unmodified, in environments of their own. KServe's sends raw and typed values."""
    require_client(package, f"import importlib.metadata; importlib.metadata.version('{package}')")
    write_bundle(image_bundle, tmp_path / "model")
    arrays, facts = ask_by(package, tmp_path / "model", IMAGES, tmp_path, timeout=240, script="ask_images_by")
    assert len(arrays) == len(KINDS) * len(FORMS) * (2 if package == "kserve" else 1)
    for name, log_px in arrays.items():
        assert log_px.tobytes() == image_scores.log_px.tobytes(), name
    if package == "tritonclient":
        assert facts["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3", "4", "1"]}]
        assert facts["config"]["config"]["input"][0]["dims"] == ["3", "4", "1"]
        assert facts["fault"][0] == "StatusCode.INVALID_ARGUMENT"
        assert "is [1, 4, 3, 25], expected [N, 12]" in facts["fault"][1]
