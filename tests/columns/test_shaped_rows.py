"""Windows and images in any accepted form are the same rows, and other shapes get an error that lists the forms."""

import numpy as np
import pytest

from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shaped_rows import describe_shapes, flattened, row_shapes
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, cell_names
from anomaly_vae.errors import InvalidInput
from tests.support.models import schema_of
from tests.support.shaped import schema_with

GREY, COLOUR = ImageShape(height=2, width=3), ImageShape(height=2, width=3, channels=3)
WINDOW, ONE_CHANNEL = SeriesShape(length=4, channels=("flow", "load")), SeriesShape(length=4, channels=("flow",))


@pytest.mark.parametrize(
    ("shape", "expected", "text"),
    [
        (GREY, ((6,), (2, 3, 1), (2, 3)), "[N, 6], [N, 2, 3, 1] or [N, 2, 3]"),
        (COLOUR, ((18,), (2, 3, 3)), "[N, 18] or [N, 2, 3, 3]"),
        (WINDOW, ((8,), (4, 2)), "[N, 8] or [N, 4, 2]"),
        (ONE_CHANNEL, ((4,), (4, 1)), "[N, 4] or [N, 4, 1]"),
    ],
)
def test_rows_may_be_flat_or_shaped(shape, expected, text):
    """Without the axis of its one channel, a window is a flat row."""
    assert row_shapes(schema_with(shape)) == expected
    assert describe_shapes(schema_with(shape)) == text


def test_rows_of_a_table_are_flat():
    schema = schema_of("gaussian", "bernoulli")
    assert row_shapes(schema) == ((2,),)
    assert describe_shapes(schema) == "[N, 2]"


@pytest.mark.parametrize("shape", [GREY, COLOUR, WINDOW, ONE_CHANNEL])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_every_cell_lies_in_the_column_of_its_name(shape, n):
    """Also from an array in another memory order."""
    cells = np.array(cell_names(shape)).reshape(shape.sizes)
    for form in row_shapes(schema_with(shape)):
        array = np.broadcast_to(cells.reshape(form), (n, *form))
        for given in (array, np.asfortranarray(array)):
            flat = flattened(given, schema_with(shape), "the model")
            assert flat.shape == (n, shape.num_cells)
            assert all(tuple(row) == cell_names(shape) for row in flat)


@pytest.mark.parametrize(
    ("array_shape", "found", "hint"),
    [
        ((2, 3), "[2, 3]", True),
        ((2, 3, 1), "[2, 3, 1]", True),
        ((6,), "[6]", True),
        ((), "[]", False),
        ((5, 7), "[5, 7]", False),
        ((5, 3, 2), "[5, 3, 2]", False),
        ((5, 1, 2, 3), "[5, 1, 2, 3]", False),
        ((5, 2, 3, 1, 1), "[5, 2, 3, 1, 1]", False),
    ],
)
def test_other_shapes_are_refused_with_those_that_are_accepted(array_shape, found, hint):
    with pytest.raises(InvalidInput) as error:
        flattened(np.zeros(array_shape), schema_with(GREY), "the model")
    expected = "expecting images of shape [N, 6], [N, 2, 3, 1] or [N, 2, 3]"
    assert f"X has shape {found}, but the model is {expected}" in str(error.value)
    assert ("x[None]" in str(error.value)) is hint


def test_a_model_of_windows_asks_for_windows():
    with pytest.raises(InvalidInput, match="expecting windows of shape"):
        flattened(np.zeros((5, 2, 4)), schema_with(WINDOW), "the model")


def test_only_the_columns_of_a_table_decide_without_a_shape():
    assert row_shapes(Schema(columns=())) == ((0,),)


def test_images_in_another_unit_than_those_of_the_model_are_refused():
    """Bytes divided by 255 would all be nearly black images, which a model may find very likely."""
    schema = plan_cells(GREY, np.random.default_rng(0).integers(0, 256, size=(20, 6)).astype(float))
    images = np.linspace(0.0, 1.0, 12).reshape(2, 2, 3)
    with pytest.raises(InvalidInput, match=r"X: holds values from 0 to 1, and .* from 0 to 255; multiply by 255"):
        to_rows(images, schema)
    assert to_rows(np.zeros((2, 2, 3)), schema).max() == 0.0
    np.testing.assert_array_equal(to_rows(255.0 * images, schema)[1], 255.0 * images[1].ravel())
