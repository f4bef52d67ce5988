"""Arrays with the shape of windows or images, as rows: see :mod:`anomaly_vae.columns.shapes`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import InvalidInput

__all__ = ["describe_shapes", "flattened", "row_shapes"]


def row_shapes(schema: Schema) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that one row may have in an array or in a request.

    A flat row has (D,). A window may also have (length, channels), and an image (height, width, channels); with one
    channel its axis may be left out.

    Examples:
        >>> from anomaly_vae.columns.shapes import ImageShape
        >>> row_shapes(Schema(columns=(), shape=ImageShape(height=28, width=28)))
        ((784,), (28, 28, 1), (28, 28))
    """
    if schema.shape is None:
        return ((len(schema.columns),),)
    sizes = schema.shape.sizes
    shapes = [(schema.shape.num_cells,), sizes]
    if sizes[-1] == 1:
        shapes.append(sizes[:-1])
    return tuple(dict.fromkeys(shapes))


def describe_shapes(schema: Schema) -> str:
    """Return the shapes that N rows may have, for messages.

    Examples:
        >>> from anomaly_vae.columns.shapes import ImageShape
        >>> describe_shapes(Schema(columns=(), shape=ImageShape(height=28, width=28)))
        '[N, 784], [N, 28, 28, 1] or [N, 28, 28]'
    """
    texts = [f"[N, {', '.join(map(str, shape))}]" for shape in row_shapes(schema)]
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def flattened(array: NDArray[Any], schema: Schema, owner: str) -> NDArray[Any]:
    """Return windows or images as flat rows (N, D), in the order of the schema's columns.

    Args:
        array: Rows in one of the forms of :func:`row_shapes`.
        schema: Columns with a shape.
        owner: Name of the model in error messages.

    Raises:
        InvalidInput: The array has another shape.
    """
    shapes = row_shapes(schema)
    if array.ndim > 0 and array.shape[1:] in shapes:
        return array.reshape(len(array), *shapes[0])
    hint = ". Give a single one as x[None]" if array.shape in shapes else ""
    what = "images" if schema.kind == "image" else "windows"
    raise InvalidInput(
        f"X has shape {_shown(array.shape)}, but {owner} is expecting {what} of shape {describe_shapes(schema)}{hint}"
    )


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
