"""Valid requests, through a real channel to a real process: the same bits as the scorer's own."""

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from anomaly_vae.service.inference import INFERENCE
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.servicers import SERVICE
from tests.conftest import NAMES, make_rows
from tests.service.running import SERVING, assert_same_bits, columns, score, tensor


@pytest.mark.parametrize("num_rows", [1, 2, 15, 16, 17, 75, 300])
def test_rows_score_as_in_the_scorer_bit_for_bit(channel, scorer, num_rows):
    rows = make_rows(num_rows, seed=num_rows)
    assert_same_bits(score(channel, tensor=tensor(rows)), scorer.score(rows))


def test_float32_rows_score_as_their_float64_values(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows, "FP32"))
    assert_same_bits(reply, scorer.score(new_rows.astype(np.float32)))


def test_named_columns_are_found_in_any_order_and_others_ignored(channel, scorer, new_rows):
    shuffled = columns(np.column_stack([new_rows, new_rows[:, 0]]), [*NAMES, "extra"])
    shuffled.column.add(name="note", strings=pb.Strings(value=["a"]))
    request = pb.Columns(column=list(shuffled.column)[::-1])
    assert_same_bits(score(channel, columns=request), scorer.score(new_rows))


def test_a_missing_cell_is_nan_and_scored(channel, scorer, new_rows):
    """In a tensor of either type and in a column; one request may hold any mixture of gaps."""
    rows = new_rows.copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    expected = scorer.score(rows)
    assert np.any(expected.score != expected.log_px)
    assert_same_bits(score(channel, tensor=tensor(rows)), expected)
    assert_same_bits(score(channel, tensor=tensor(rows, "FP32")), scorer.score(rows.astype(np.float32)))
    assert_same_bits(score(channel, columns=columns(rows, NAMES)), expected)


def test_the_reply_says_what_scored(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows[:3]), request_id="order 66")
    calibration = scorer.info["calibration"]
    assert reply.threshold == calibration["threshold"]
    assert reply.target_fpr == calibration["target_fpr"]
    assert (reply.model_name, reply.model_version, reply.request_id) == ("model", "1", "order 66")


def test_another_budget_gives_no_p_values_and_no_flags(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows), num_samples=64)
    expected = scorer.score_rows(new_rows, 64)
    assert np.array(reply.log_px).tobytes() == expected.log_px.tobytes()
    assert not reply.p_value
    assert not reply.is_anomaly
    assert set(reply.num_samples) == {64}


def test_the_calibrated_budget_by_name_is_the_default(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows), num_samples=scorer.num_samples)
    assert_same_bits(reply, scorer.score(new_rows))


def test_flag_only_gives_the_decisions_of_the_full_reply(channel, scorer, new_rows):
    new_rows = np.concatenate([new_rows, new_rows + 0.5])
    reply = score(channel, tensor=tensor(new_rows), flag_only=True)
    expected = scorer.flag(new_rows)
    assert list(reply.is_anomaly) == expected.is_anomaly.tolist() == scorer.score(new_rows).is_anomaly.tolist()
    assert any(reply.is_anomaly)
    assert list(reply.num_samples) == expected.num_samples.tolist()
    assert np.mean(reply.num_samples) < 512
    assert len(reply.reason) == len(new_rows)
    left_out = ("log_px", "score", "elbo", "std_error", "ess_ratio", "pareto_k", "reliable", "p_value")
    assert not any(len(getattr(reply, name)) for name in left_out)


def test_a_wished_error_ends_a_row_early_and_gives_no_flags(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows), max_std_error=0.2)
    with pytest.warns(UserWarning, match="no p-value and no flag"):
        expected = scorer.score(new_rows, max_std_error=0.2)
    assert list(reply.log_px) == expected.log_px.tolist()
    assert list(reply.num_samples) == expected.num_samples.tolist()
    assert not reply.is_anomaly
    assert not reply.p_value


def test_a_changed_constant_column_is_flagged_with_its_reason(channel, scorer, new_rows):
    rows = new_rows[:20].copy()
    rows[4, 4] = 8.0
    reply = score(channel, tensor=tensor(rows))
    assert reply.is_anomaly[4]
    assert "'unit' was always 7.0 in training, is 8.0" in reply.reason[4]
    assert reply.reason[3] == ""
    assert_same_bits(reply, scorer.score(rows))


def test_a_row_scores_alike_in_any_request(channel, new_rows):
    whole = score(channel, tensor=tensor(new_rows))
    alone = [score(channel, tensor=tensor(new_rows[i : i + 1])).log_px[0] for i in range(0, 75, 7)]
    assert alone == [whole.log_px[i] for i in range(0, 75, 7)]


def test_get_model_tells_what_inspect_does(channel, scorer):
    model = ScoringServiceStub(channel).GetModel(pb.GetModelRequest(), timeout=10)
    info = scorer.info
    assert model.bundle_digest == info["bundle_digest"]
    assert model.format_version == info["format_version"]
    assert [column.name for column in model.columns] == list(NAMES)
    assert [column.kind for column in model.columns] == [column["kind"] for column in info["schema"]["columns"]]
    assert model.columns[4].value == 7.0
    assert not model.columns[0].HasField("value")
    assert model.label == "broken"
    for name in ("threshold", "target_fpr", "effective_fpr", "num_rows", "rank", "num_novel"):
        assert getattr(model.calibration, name) == info["calibration"][name]
    assert not model.calibration.HasField("confidence")
    assert model.estimator.num_samples == scorer.num_samples
    assert tuple(model.estimator.budgets) == scorer.budgets
    assert model.limits.max_rows == 16_384


def test_health_names_the_service_and_the_whole(service):
    assert service.health() == SERVING
    assert service.health(SERVICE) == SERVING
    assert service.health(INFERENCE) == SERVING
    with pytest.raises(grpc.RpcError) as error:
        service.health("somebody.else")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services_and_their_messages(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        SERVICE,
        INFERENCE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    file = database.FindFileContainingSymbol(SERVICE)
    assert file.package == "anomaly_vae.v1"
    assert {message.name for message in file.message_type} >= {"ScoreRequest", "ScoreResponse", "Model"}


def test_an_unknown_method_is_unimplemented(channel):
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/{SERVICE}/LoadModel")(b"", timeout=10)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
