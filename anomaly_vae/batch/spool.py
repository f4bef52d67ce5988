"""A file without a name that holds record batches until they are read again: more rows than fit in memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.ipc

from anomaly_vae.storage import writing

__all__ = ["Spool", "open_spool"]


class Spool:
    """Takes record batches of one schema, then gives them back in their order.

    It is an Arrow stream, not an Arrow file: a stream may change the dictionary of a column from batch to batch.
    """

    def __init__(self, file: BinaryIO, folder: Path, schema: pa.Schema) -> None:
        """Write to an open file in this folder, which errors name."""
        self._file, self._folder = file, folder
        # Measured on the results of 400,000 rows: 26 MB, without compression 30 MB, with zstd 22 MB in twice the time.
        # Writing takes 0.12 s and reading 0.07 s, when writing the same rows as CSV takes 0.46 s and scoring them 50 s.
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer: Any = pa.ipc.new_stream(file, schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch.

        Raises:
            OSError: The disk is full or broken; it names the folder.
        """
        with writing(self._folder):
            self._writer.write_batch(batch)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all batches, from the first one each time; none can be added afterwards."""
        with writing(self._folder):
            self._writer.close()
            self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)


@contextlib.contextmanager
def open_spool(output: str, schema: pa.Schema) -> Iterator[Spool]:
    """Open a spool in the folder of an output; if that is "-", in the folder for temporary files, such as TMPDIR.

    The file never has a name where the file system allows that, as on Linux, and otherwise only while it is opened: so
    nothing is left behind, even if the process is killed.

    Raises:
        ConfigError: No file can be written in the folder.
    """
    folder = Path(tempfile.gettempdir()) if output == "-" else Path(output).absolute().parent
    with writing(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed below, where errors are known)
    try:
        yield Spool(file, folder, schema)
    finally:
        with contextlib.suppress(OSError):  # on a full disk, closing fails again; the first error names the folder
            file.close()
