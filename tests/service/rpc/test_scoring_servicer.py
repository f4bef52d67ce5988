"""Valid requests through a real channel to a real process: the same bits as the scorer's."""

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from anomaly_vae.client.explanations import to_explanations
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.rpc.inference_servicer import INFERENCE
from anomaly_vae.service.rpc.model_description import describe
from anomaly_vae.service.rpc.score_messages import count_rows
from anomaly_vae.service.rpc.scoring_servicer import SERVICE
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from tests.support.data import NAMES, make_rows
from tests.support.running import SERVING, assert_same_bits, columns, fault_of, score, tensor


@pytest.mark.parametrize("num_rows", [1, 2, 15, 16, 17, 75, 300])
def test_rows_score_as_in_the_scorer_bit_for_bit(channel, scorer, num_rows):
    rows = make_rows(num_rows, seed=num_rows)
    assert_same_bits(score(channel, tensor=tensor(rows)), scorer.score(rows))


def test_float32_rows_score_as_their_float64_values(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows, "FP32"))
    assert_same_bits(reply, scorer.score(new_rows.astype(np.float32)))


def test_named_columns_may_come_in_any_order_and_others_are_ignored(channel, scorer, new_rows):
    shuffled = columns(np.column_stack([new_rows, new_rows[:, 0]]), [*NAMES, "extra"])
    shuffled.column.add(name="note", strings=pb.Strings(value=["a"]))
    request = pb.Columns(column=list(shuffled.column)[::-1])
    assert_same_bits(score(channel, columns=request), scorer.score(new_rows))


def test_an_ignored_column_may_have_any_number_of_rows(channel, scorer, new_rows):
    """It takes no room in the queue, which has 262,144 rows: a stream would wait for such room until its deadline."""
    request = pb.ScoreRequest(columns=columns(new_rows, NAMES))
    request.columns.column.add(name="extra", fp64=bytes(8 * 300_000))
    assert count_rows(request, scorer.schema) == len(new_rows)
    stub = ScoringServiceStub(channel)
    for reply in (stub.Score(request, timeout=20), *stub.ScoreStream(iter([request]), timeout=20)):
        assert_same_bits(reply, scorer.score(new_rows))


def test_a_missing_cell_is_nan_and_scored(channel, scorer, new_rows):
    """In a tensor of either type and in a column; each row may have other missing cells."""
    rows = new_rows.copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    expected = scorer.score(rows)
    assert np.any(expected.score != expected.log_px)
    assert_same_bits(score(channel, tensor=tensor(rows)), expected)
    assert_same_bits(score(channel, tensor=tensor(rows, "FP32")), scorer.score(rows.astype(np.float32)))
    assert_same_bits(score(channel, columns=columns(rows, NAMES)), expected)


def test_the_reply_names_the_model_and_the_request(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows[:3]), request_id="order 66")
    calibration = scorer.info["calibration"]
    assert reply.threshold == calibration["threshold"]
    assert reply.target_fpr == calibration["target_fpr"]
    assert (reply.model_name, reply.model_version, reply.request_id) == ("model", "1", "order 66")


def test_another_budget_gives_no_p_values_and_no_flags(channel, scorer, new_rows):
    reply = score(channel, tensor=tensor(new_rows), num_samples=64)
    expected = scorer.score_rows(new_rows, num_samples=64)
    assert np.array(reply.log_px).tobytes() == expected.log_px.tobytes()
    assert not reply.p_value
    assert not reply.is_anomaly
    assert 32 < min(reply.num_samples) <= max(reply.num_samples) <= 64  # a fit may leave a remainder


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


def test_an_error_target_ends_a_row_early_and_gives_no_flags(channel, scorer, new_rows):
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


def test_a_row_has_the_same_score_in_any_request(channel, new_rows):
    whole = score(channel, tensor=tensor(new_rows))
    alone = [score(channel, tensor=tensor(new_rows[i : i + 1])).log_px[0] for i in range(0, 75, 7)]
    assert alone == [whole.log_px[i] for i in range(0, 75, 7)]


def test_health_covers_each_service_and_the_whole_server(service):
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


@pytest.mark.parametrize("field", ["model_name", "model_version"])
def test_another_model_or_version_is_not_found(channel, field):
    for call, fields in ((score, {"tensor": tensor(make_rows(6))}), (get_model, {})):
        code, details, found = fault_of(call, channel, **fields, **{field: "2" * 2000})
        assert (code, found) == (grpc.StatusCode.NOT_FOUND, [field])
        assert "is not served here" in details


def get_model(channel, **fields):
    return ScoringServiceStub(channel).GetModel(pb.GetModelRequest(**fields), timeout=10)


def test_get_model_describes_the_served_model(channel, scorer, model_path):
    served = Served("model", "1", scorer, scorer.budgets)
    assert get_model(channel) == describe(served, ServeConfig(model=model_path))


def anomalies(new_rows):
    rows = new_rows[:12].copy()
    rows[3, 1], rows[7, 4] = 1.0, 8.0
    return rows


@pytest.mark.parametrize("options", [{}, {"flag_only": True}])
def test_flagged_rows_are_explained_as_by_the_scorer_bit_for_bit(channel, scorer, new_rows, options):
    rows = anomalies(new_rows)
    reply = score(channel, tensor=tensor(rows), explain=2, **options)
    flagged = np.flatnonzero(scorer.score(rows).is_anomaly)
    assert {3, 7} <= set(flagged.tolist())
    expected = dict(zip(flagged.tolist(), scorer.explain(rows[flagged], top=2), strict=True))
    assert to_explanations(reply, 12) == [expected.get(i, []) for i in range(12)]
    assert expected[3][0].column == "flow"
    assert expected[7][0].is_novel
    assert not score(channel, tensor=tensor(rows)).explanations


def test_every_row_is_explained_on_request_and_in_a_stream(service, channel, scorer, new_rows):
    rows = anomalies(new_rows)[:4]
    before = service.metric("anomaly_vae_explained_rows_total")
    options = {"tensor": tensor(rows), "explain": 1, "explain_all": True}
    request, expected = pb.ScoreRequest(**options, num_samples=16), scorer.explain(rows, top=1)
    for reply in (score(channel, **options), *ScoringServiceStub(channel).ScoreStream(iter([request]), timeout=60)):
        assert to_explanations(reply, 4) == expected
    assert service.metric("anomaly_vae_explained_rows_total") == before + 8
    assert service.metric("anomaly_vae_stage_seconds_count", stage="explain") >= 2
