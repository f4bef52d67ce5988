"""Write synthetic rows, windows and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_numpy, from_strings
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, Shape
from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file
from anomaly_vae.table import open_writer

if TYPE_CHECKING:
    from anomaly_vae.scorer import Scorer

__all__ = ["sample_shaped", "sample_table"]

_WHITE = 255

# Synthetic rows per block. Chosen, not measured: larger blocks need more memory, smaller ones more calls.
_ROWS_PER_BLOCK = 16_384
# Cells per block of windows or images, 128 MiB. Chosen, not measured.
_CELLS_PER_BLOCK = 2**24
# Difference between the seeds of consecutive blocks: a prime, so that seeds a user would choose (0, 1, 2, ...) do not
# meet within the blocks of another run. Changing it changes the output of `anomaly-vae sample`.
_SEED_STEP = 1_000_003


def sample_table(
    scorer: Scorer,
    output: str,
    num_rows: int,
    seed: int,
    *,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> None:
    """Write synthetic rows, with the text of each category.

    Args:
        scorer: The model.
        output: As for :func:`~anomaly_vae.batch.scoring.score_table`.
        num_rows: How many rows to write.
        seed: The same seed and number of rows give the same file.
        overwrite: Whether an existing output is replaced.
        on_rows: Called with the number of rows just written.
    """
    fields = [
        (column.name, pa.string() if column.categories is not None else pa.float64())
        for column in scorer.schema.columns
    ]
    schema = pa.schema(fields)
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for rows in _blocks(scorer, num_rows, seed):
            columns = [
                from_numpy(np.ascontiguousarray(rows[:, d]))
                if column.categories is None
                else from_strings([column.categories[int(code)] for code in rows[:, d]])
                for d, column in enumerate(scorer.schema.columns)
            ]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            if on_rows:
                on_rows(len(rows))


def sample_shaped(
    scorer: Scorer,
    output: str,
    num_rows: int,
    seed: int,
    *,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> None:
    """Write synthetic windows or images.

    A .npy file holds windows as (N, length, C), images as (N, H, W), and as (N, H, W, C) with several channels; images
    of whole numbers from 0 to 255 are uint8. Windows may also be a table with one row per step: the column ``window``
    counts the windows from 0 and ``step`` the steps of each, the other columns are the channels.

    Args:
        scorer: A model of windows or images.
        output: A .npy file, or for windows a table as for :func:`sample_table`.
        num_rows: How many windows or images to write.
        seed, overwrite, on_rows: As for :func:`sample_table`.

    Raises:
        ConfigError: The output cannot be written.
    """
    shape = scorer.schema.shape
    if shape is None:
        raise TypeError("the model is one of tables")
    if Path(output).suffix.lower() == ".npy":
        _write_array(scorer, shape, output, num_rows, seed, overwrite, on_rows)
    elif isinstance(shape, SeriesShape):
        _write_steps(scorer, shape, output, num_rows, seed, overwrite, on_rows)
    else:
        raise ConfigError(f"-o {output}: images are written as an array; give a file that ends in .npy")


def _write_array(
    scorer: Scorer,
    shape: Shape,
    output: str,
    num_rows: int,
    seed: int,
    overwrite: bool,
    on_rows: Callable[[int], None] | None,
) -> None:
    kind: np.dtype[Any] = np.dtype("<f8")
    sizes = shape.sizes
    if isinstance(shape, ImageShape):
        kind = np.dtype(np.uint8 if shape.depth == "uint8" else "<f8")
        sizes = sizes if shape.channels > 1 else sizes[:2]
    facts = {"descr": kind.str, "fortran_order": False, "shape": (num_rows, *sizes)}
    with atomic_file(Path(output), overwrite=overwrite) as part, part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, facts)
        for rows in _blocks(scorer, num_rows, seed):
            values = np.clip(np.rint(rows), 0, _WHITE) if kind == np.uint8 else rows
            file.write(values.astype(kind).tobytes())
            if on_rows:
                on_rows(len(rows))


def _write_steps(
    scorer: Scorer,
    shape: SeriesShape,
    output: str,
    num_rows: int,
    seed: int,
    overwrite: bool,
    on_rows: Callable[[int], None] | None,
) -> None:
    places = [(name, pa.int64()) for name in ("window", "step")]
    if taken := [name for name, _ in places if name in shape.channels]:
        raise ConfigError(f"-o {output}: the model has a channel {taken[0]!r}, as the table would; write a .npy file")
    schema, done = pa.schema([*places, *((name, pa.float64()) for name in shape.channels)]), 0
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for rows in _blocks(scorer, num_rows, seed):
            steps = rows.reshape(-1, shape.num_channels)
            windows = np.repeat(done + np.arange(len(rows)), shape.length)
            columns = [from_numpy(windows), from_numpy(np.tile(np.arange(shape.length), len(rows)))]
            columns += [from_numpy(np.ascontiguousarray(steps[:, c])) for c in range(shape.num_channels)]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            done += len(rows)
            if on_rows:
                on_rows(len(rows))


def _blocks(scorer: Scorer, num_rows: int, seed: int) -> Iterator[FloatArray]:
    """Yield blocks of synthetic rows: fewer at a time if a window or an image has many cells."""
    size = _ROWS_PER_BLOCK
    if scorer.schema.shape is not None:
        size = max(1, min(size, _CELLS_PER_BLOCK // scorer.schema.shape.num_cells))
    for i, start in enumerate(range(0, num_rows, size)):
        yield scorer.sample(min(size, num_rows - start), (seed + i * _SEED_STEP) % 2**32)
