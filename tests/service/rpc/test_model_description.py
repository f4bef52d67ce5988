"""The reply of GetModel."""

from pathlib import Path

import msgspec

from anomaly_vae.client.model_schema import schema_of as schema_of_model
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import MOST_CELLS, ImageShape, cell_names
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.model_description import describe
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from tests.support.data import NAMES
from tests.support.models import ALL, schema_of


def test_get_model_returns_what_inspect_prints(scorer):
    model = describe(Served("model", "1", scorer, scorer.budgets), ServeConfig(model=Path("model")))
    info = scorer.info
    assert model.bundle_digest == info["bundle_digest"]
    assert model.format_version == info["format_version"]
    assert [column.name for column in model.columns] == list(NAMES)
    assert [column.kind for column in model.columns] == [column["kind"] for column in info["schema"]["columns"]]
    assert model.columns[4].value == 7.0
    assert not model.columns[0].HasField("value")
    assert model.label == "broken"
    for name in ("threshold", "target_fpr", "effective_fpr", "num_rows", "rank", "num_novel", "tail"):
        assert getattr(model.calibration, name) == info["calibration"][name]
    assert not model.calibration.HasField("confidence")
    assert not model.calibration.HasField("upper_threshold")
    assert not model.calibration.HasField("contrast_threshold")
    for name in ("num_samples", "target_error", "careful_below", "scramblings"):
        assert getattr(model.estimator, name) == info["estimator"][name]
    assert tuple(model.estimator.budgets) == scorer.budgets
    assert model.limits.max_rows == 16_384


class Replaced:
    """A scorer with another attribute, or its manifest with one."""

    def __init__(self, scorer, **fields):
        self._scorer, self._fields = scorer, fields

    def __getattr__(self, name):
        return self._fields[name] if name in self._fields else getattr(self._scorer, name)


def test_every_field_of_a_column_is_described(scorer):
    """Read back as a column it is the same one; protobuf's absent fields are None, and an empty list is no list."""
    shifted = Column(name="shifted", kind="continuous", step=0.5, origin=0.25)
    constant = Column(name="unit", kind="constant", value=7.0, other_share=0.25, novelty="lowest")
    names = Column(name="name", kind="categorical", categories=tuple("abc"), rare=(0, 2))
    schema = Schema(columns=(*schema_of(*ALL).columns, shifted, constant, names))
    served = Served("model", "1", Replaced(scorer, schema=schema), scorer.budgets)
    for found, column in zip(describe(served, ServeConfig(model=Path("m"))).columns, schema.columns, strict=True):
        read = Column(
            name=found.name,
            kind=found.kind,
            value=found.value if found.HasField("value") else None,
            categories=tuple(found.categories) or None,
            step=found.step if found.HasField("step") else None,
            origin=found.origin,
            rare=tuple(found.rare),
            other_share=found.other_share if found.HasField("other_share") else None,
            novelty=found.novelty if found.HasField("novelty") else None,
            period=found.period if found.HasField("period") else None,
        )
        assert read == column


def test_the_limits_are_those_of_the_settings(scorer):
    config = ServeConfig(model=Path("m"), max_rows=7, max_columns=8, max_samples=2_048, max_message_bytes=5_000)
    limits = describe(Served("model", "1", scorer, (16, 64)), config)
    assert limits.limits == pb.Limits(
        max_rows=7, max_columns=8, max_samples=2_048, max_message_bytes=5_000, max_explain=16
    )
    assert list(limits.estimator.budgets) == [16, 64]


def with_schema(scorer, schema):
    """Serve a model with these columns."""
    manifest = msgspec.structs.replace(scorer.bundle.manifest, schema=schema)
    bundle = Replaced(scorer.bundle, manifest=manifest)
    return Served("model", "1", Replaced(scorer, schema=schema, bundle=bundle), scorer.budgets)


def test_a_model_of_a_table_has_no_shape(scorer):
    model = describe(Served("model", "1", scorer, scorer.budgets), ServeConfig(model=Path("model")))
    assert not model.HasField("shape")


def test_the_largest_images_fit_into_the_default_message_of_every_client(scorer):
    """gRPC clients refuse replies above 4 MiB by default; each pixel is a column with every field of a number."""
    shape = ImageShape(height=128, width=128)
    columns = tuple(
        Column(name=name, kind="continuous", step=1.0, origin=0.5, other_share=1e-5, novelty="density")
        for name in cell_names(shape)
    )
    model = describe(with_schema(scorer, Schema(columns=columns, shape=shape)), ServeConfig(model=Path("model")))
    assert len(model.columns) == MOST_CELLS
    assert model.ByteSize() < 4 * 2**20
    assert schema_of_model(model) == Schema(columns=columns, shape=shape)


def test_get_model_says_how_the_columns_of_a_table_are_read(scorer):
    """Also those that the model does not use, so that a caller can leave them out."""
    inputs = (
        Input(name="row", reading=LeftOut(why="numbers the rows")),
        Input(name="price", reading=NumberReading(decimal=",", thousands=".", affixes=("€",))),
        Input(name="when", reading=TimeReading(order="dmy", zone="Europe/Oslo", parts=("time_of_day", "trend"))),
    )
    schema = msgspec.structs.replace(scorer.schema, inputs=inputs, missing_values=("-999",))
    model = describe(with_schema(scorer, schema), ServeConfig(model=Path("model")))
    assert list(model.inputs) == [
        pb.Input(name="row", kind="left out", why="numbers the rows"),
        pb.Input(name="price", kind="number", decimal=",", thousands=".", affixes=["€"]),
        pb.Input(name="when", kind="time", order="dmy", zone="Europe/Oslo", parts=["time_of_day", "trend"]),
    ]
    assert list(model.missing_values) == ["-999"]
