"""The shape of a model's rows as GetModel tells it. That a client reads the same: tests/client/test_model_schema.py."""

from anomaly_vae.columns.reading.records import Input, NumberReading
from anomaly_vae.columns.shapes import ImageShape, SeriesShape
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.shape_messages import describe_shape


def test_rows_of_a_table_have_no_shape():
    assert describe_shape(None) is None


def test_every_field_of_a_series_is_described():
    shape = SeriesShape(
        length=64,
        channels=("flow", "load"),
        stride=2,
        step_seconds=60.0,
        timestamp="ts",
        series="host",
        inputs=(Input(name="flow", reading=NumberReading(decimal=",")),),
    )
    assert describe_shape(shape) == pb.Shape(
        kind="series",
        sizes=[64, 2],
        channels=["flow", "load"],
        stride=2,
        step_seconds=60.0,
        timestamp="ts",
        series="host",
        inputs=[pb.Input(name="flow", kind="number", decimal=",")],
    )


def test_steps_without_times_have_no_seconds():
    assert not describe_shape(SeriesShape(length=2, channels=("flow",))).HasField("step_seconds")


def test_every_field_of_an_image_is_described():
    shape = ImageShape(height=28, width=27, channels=3, depth="float", low=-1.0, high=2.0)
    assert describe_shape(shape) == pb.Shape(kind="image", sizes=[28, 27, 3], depth="float", low=-1.0, high=2.0)
