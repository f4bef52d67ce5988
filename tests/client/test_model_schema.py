"""The columns of a served model are those of its bundle, or the client says that it is too old for them."""

import pytest

from anomaly_vae.client.model_schema import schema_of
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, cell_names
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.shape_messages import describe_input, describe_shape


def test_the_columns_of_a_client_are_those_of_the_model():
    columns = (
        pb.ModelColumn(name="name", kind="categorical", categories=["a", "b", "c"], rare=[0, 2], novelty="density"),
        pb.ModelColumn(name="unit", kind="constant", value=7.0, other_share=0.25, novelty="lowest"),
        pb.ModelColumn(name="is_open", kind="binary", novelty="a rule of a later release"),
        pb.ModelColumn(name="year", kind="integer", step=2.0, origin=1.0),
        pb.ModelColumn(name="hour", kind="cyclic", period=24.0),
    )
    assert schema_of(pb.Model(columns=columns, label="broken")) == Schema(
        columns=(
            Column(name="name", kind="categorical", categories=("a", "b", "c"), rare=(0, 2), novelty="density"),
            Column(name="unit", kind="constant", value=7.0, other_share=0.25, novelty="lowest"),
            Column(name="is_open", kind="binary"),
            Column(name="year", kind="integer", step=2.0, origin=1.0),
            Column(name="hour", kind="cyclic", period=24.0),
        ),
        label="broken",
    )


@pytest.mark.parametrize(
    "reading",
    [
        NumberReading(),
        NumberReading(decimal=",", thousands=" ", affixes=("()", "€"), truth=True),
        TextReading(),
        TimeReading(order="dmy", zone="Europe/Oslo", parts=("time_of_day", "trend")),
        TimeReading(order="clock", parts=("time_of_day",)),
        LeftOut(why="numbers the rows"),
    ],
)
def test_a_client_reads_tables_as_the_service_says_that_training_did(reading):
    """So that a DataFrame gives the same rows here as it would there."""
    each = Input(name="a", reading=reading)
    schema = schema_of(pb.Model(inputs=[describe_input(each)], missing_values=["-999"]))
    assert schema.inputs == (each,)
    assert schema.missing_values == ("-999",)


@pytest.mark.parametrize(
    "fields", [{"kind": "picture"}, {"kind": "number", "decimal": ";"}, {"kind": "text", "truth": True}, {}]
)
def test_a_reading_of_a_later_release_is_refused_with_the_column(fields):
    with pytest.raises(
        ServiceError, match="the service reads column 'a' in a way that this release does not"
    ) as caught:
        schema_of(pb.Model(inputs=[pb.Input(name="a", **fields)]))
    assert caught.value.code == "UNIMPLEMENTED"


SERIES = SeriesShape(length=3, channels=("flow", "load"))
SHAPES = (
    SERIES,
    SeriesShape(
        length=2,
        channels=("flow",),
        stride=5,
        step_seconds=60.0,
        timestamp="when",
        series="host",
        inputs=(
            Input(name="when", reading=TimeReading(order="dmy", zone="Europe/Oslo")),
            Input(name="host", reading=TextReading()),
            Input(name="flow", reading=NumberReading(decimal=",", thousands=".")),
        ),
    ),
    ImageShape(height=2, width=3),
    ImageShape(height=2, width=2, channels=3, depth="float", low=-1.0, high=1.0),
)


def described(shape, columns=None, **fields):
    """A model with this shape, of which any field can be replaced."""
    message = describe_shape(shape)
    for name, value in fields.items():
        message.ClearField(name)
        message.MergeFrom(pb.Shape(**{name: value}))
    names = cell_names(shape)[:columns]
    return pb.Model(columns=[pb.ModelColumn(name=name, kind="continuous") for name in names], shape=message)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_of_a_client_is_that_of_the_model(shape):
    schema = schema_of(pb.Model.FromString(described(shape).SerializeToString()))
    assert schema.shape == shape
    assert schema.column_names == cell_names(shape)


def test_a_model_of_a_table_has_no_shape():
    assert schema_of(pb.Model()).shape is None


@pytest.mark.parametrize(
    "model",
    [
        described(SERIES, kind="volume"),
        described(SERIES, kind="image"),
        described(SERIES, sizes=[3]),
        described(SERIES, sizes=[2**40, 2]),
        described(SERIES, sizes=[3, 3]),
        described(SERIES, step_seconds=-1.0),
        described(SERIES, columns=5),
        described(ImageShape(height=2, width=3), depth="uint16"),
        described(ImageShape(height=2, width=3), sizes=[3, 2, 1, 1]),
        pb.Model(shape=pb.Shape()),
    ],
)
def test_a_shape_of_a_later_release_is_refused(model):
    with pytest.raises(ServiceError, match=r"a shape that this release does not know .*; upgrade") as caught:
        schema_of(model)
    assert caught.value.code == "UNIMPLEMENTED"
