"""Encoded images in a column of Parquet, Arrow or Feather: binary, or {bytes, path} as Hugging Face writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from anomaly_vae.errors import InvalidInput
from anomaly_vae.images.base import BadImage, ImageSource, Numbers, Read
from anomaly_vae.images.decoding import Decoder, is_image_start
from anomaly_vae.images.sizes import Sizes
from anomaly_vae.table.base import first_line
from anomaly_vae.table.sources.typed import plain_type

__all__ = ["ColumnImages", "image_columns", "is_columnar_start"]

# Cells that are in memory at once. Chosen, not measured: cells can be photos of several MB.
_CELLS = 32

# First cells that show whether a column holds images. Chosen, not measured: the first ones may be missing.
_CELLS_TO_RECOGNISE = 32

_PARQUET, _ARROW = b"PAR1", b"ARROW1"


def is_columnar_start(start: bytes) -> bool:
    """Return whether the first bytes are those of a Parquet or Arrow file."""
    return start.startswith((_PARQUET, _ARROW))


def image_columns(path: Path, where: str) -> list[str]:
    """Return the columns with a PNG or JPEG among their first cells.

    Raises:
        InvalidInput: The file is damaged.
    """
    schema = _schema(path, where)
    names = [name for name in schema.names if _holds_bytes(schema.field(schema.get_field_index(name)).type)]
    found = []
    for name in dict.fromkeys(names):
        cells = next(_cells(path, where, name, _CELLS_TO_RECOGNISE), [])
        if any(isinstance(cell, bytes) and is_image_start(cell) for cell in cells):
            found.append(name)
    return found


class ColumnImages(ImageSource):
    """The images of a column. See :class:`~anomaly_vae.images.base.ImageSource`."""

    has_cheap_rows = False

    def __init__(
        self, paths: Sequence[Path], where: str, column: str | None, decoder: Decoder, *, is_resized: bool
    ) -> None:
        """Read the headers of all images of these files, in order. A missing or damaged cell is a problem of it.

        Raises:
            InvalidInput: There is no column of images or several, or the file is damaged.
        """
        super().__init__()
        self.paths, self.where, self._decoder = paths, where, decoder
        self._column = _chosen(paths[0], where, column)
        for path in paths[1:]:
            _chosen(path, str(path), self._column)
        sizes, index = Sizes(), 0
        for look in self._each(decoder.look):
            if isinstance(look, BadImage):
                self._problems[index] = str(look)
            else:
                sizes.add(look, f"row {index}")
            index += 1
        self.names = Numbers(index)
        if sizes.is_empty:
            reason = f"; row 0: {self._problems[0]}" if index else ""
            raise InvalidInput(f"{where}: column {self._column!r} holds no image that can be read{reason}")
        self.shape, self.dtype = sizes.shape(where, is_resized=is_resized), sizes.dtype
        self.notes = tuple(sizes.notes(where))

    def _read_all(self) -> Iterator[Read]:
        return self._each(self._decoder.decode)

    def _read_some(self, numbers: Sequence[int]) -> Iterable[Read]:
        wanted, last, number = set(numbers), max(numbers, default=-1), 0
        for cells in self._cells():
            for cell in cells:
                if number in wanted:
                    yield _read(self._decoder.decode, cell)
                number += 1
            if number > last:
                return

    def _each(self, read: Callable[[bytes], Any]) -> Iterator[Any]:
        for cells in self._cells():
            yield from (_read(read, cell) for cell in cells)

    def _cells(self) -> Iterator[list[bytes | BadImage]]:
        for path in self.paths:
            where = self.where if len(self.paths) == 1 else str(path)
            yield from _cells(path, where, self._column)


def _read(read: Callable[[bytes], Any], cell: bytes | BadImage) -> Any:
    if isinstance(cell, BadImage):
        return cell
    try:
        return read(cell)
    except BadImage as error:
        return error


def _chosen(path: Path, where: str, column: str | None) -> str:
    schema = _schema(path, where)
    if column is not None:
        if schema.names.count(column) != 1:
            raise InvalidInput(
                f"{where}: has no column {column!r}; it has {', '.join(schema.names[:10])}", field=column
            )
        if not _holds_bytes(kind := schema.field(column).type):
            raise InvalidInput(f"{where}: column {column!r} is of type {kind}, expected encoded images", field=column)
        return column
    found = image_columns(path, where)
    if len(found) != 1:
        text = (
            f"several columns of images: {', '.join(found)}; name one" if found else "no column of PNG or JPEG images"
        )
        raise InvalidInput(f"{where}: holds {text}")
    return found[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    kind = plain_type(kind)
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _schema(path: Path, where: str) -> pa.Schema:
    with _damaged(where), _opened(path) as reader:
        return reader.schema_arrow if isinstance(reader, pa.parquet.ParquetFile) else reader.schema


def _cells(path: Path, where: str, name: str, size: int = _CELLS) -> Iterator[list[bytes | BadImage]]:
    """Yield the cells of a column, some at a time; a missing one is a bad image."""
    with _damaged(where), _opened(path) as reader:
        for batch in _batches(reader, name, size):
            batch.validate(full=True)  # a damaged file could point outside of its buffers
            column = batch.column(batch.schema.get_field_index(name))
            yield _bytes_of(column.storage if isinstance(column, pa.ExtensionArray) else column)


def _batches(reader: Any, name: str, size: int) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.parquet.ParquetFile):
        yield from reader.iter_batches(size, columns=[name], use_threads=False)
        return
    for i in range(reader.num_record_batches):
        batch = reader.get_batch(i)
        yield from (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _bytes_of(column: pa.Array) -> list[bytes | BadImage]:
    parents, paths = column, None
    if pa.types.is_struct(column.type):
        has_paths = column.type.get_field_index("path") >= 0
        column, paths = column.field("bytes"), column.field("path") if has_paths else None
    cells: list[bytes | BadImage] = []
    for i in range(len(column)):
        cell = column[i].as_py() if parents[i].is_valid else None  # the children of a missing cell may have values
        if cell is None:
            path = paths[i].as_py() if paths is not None and parents[i].is_valid else None
            cell = BadImage(f"names the file {str(path)[:80]!r} and holds no bytes" if path else "is missing")
        cells.append(cell)
    return cells


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file, without reading ahead so that its row groups may be large, or an Arrow file."""
    with path.open("rb") as file:
        is_arrow = file.read(len(_ARROW)) == _ARROW
    if is_arrow:
        with pa.memory_map(str(path)) as memory:
            yield pa.ipc.open_file(memory, options=pa.ipc.IpcReadOptions(use_threads=False))
    else:
        with pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            yield file


@contextlib.contextmanager
def _damaged(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InvalidInput(f"{where}: damaged, or neither Parquet nor Arrow: {first_line(error)}") from error
