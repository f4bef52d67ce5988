"""Text in any encoding as UTF-8. Bytes that are not valid become marks, so that their rows can be reported."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Sequence

import pyarrow as pa

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.streams import SAMPLE_BYTES, ByteStream

__all__ = ["TextStream", "encoding_name"]

# A bad byte b becomes the character _FIRST_MARK + b, since Arrow needs UTF-8. These are the last characters of Unicode,
# for private use; a row that holds one is reported like a row with a bad byte.
_FIRST_MARK = 0x10FF00
_MARKS = re.compile("[\U0010ff00-\U0010ffff]+")

# That of UTF-32 starts with that of UTF-16.
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

_NAMES = {"utf-8": "UTF-8", "cp1252": "Windows-1252", "iso8859-1": "Latin-1"}

# Bytes that Windows-1252 does not define.
_NOT_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")

# Control characters that no text has: all but tab, line ends, vertical tab, form feed, Ctrl-Z and escape.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_FIRST_MARK + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("anomaly_vae.mark", _mark)


class TextStream:
    """The text of a stream as UTF-8, without a byte order mark.

    Attributes:
        where: Name in messages.
        encoding: Name of the encoding in Python; "utf-8" also for ASCII.
        has_bom: Whether it starts with a byte order mark.
    """

    def __init__(self, stream: ByteStream, encoding: str | None = None, sample: int = SAMPLE_BYTES) -> None:
        self.where, self._stream = stream.where, stream
        head = stream.peek(sample)
        bom = next((bom for bom in _BOMS if head.startswith(bom)), b"")
        given = _known(encoding) if encoding else None
        if given is None or given == _BOMS.get(bom):
            stream.read(len(bom))
        self.encoding = given or _BOMS.get(bom) or _guess(head, self.where)
        self.has_bom = bool(bom)
        self._decoder = codecs.getincrementaldecoder(self.encoding)("anomaly_vae.mark")
        self._ahead, self._ended = b"", False
        self._has_marks = False
        self._given, self._produced = 0, 0
        self._passed: tuple[float, float] = (0, 0)
        self._marks: deque[tuple[float, float]] = deque()

    def peek(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end, and leave them to be read."""
        parts, length = [self._ahead], len(self._ahead)
        while length < size and not self._ended:
            data = self._stream.read(size)
            self._ended = not data
            part = self._decoded(data)
            parts.append(part)
            length += len(part)
            self._produced += len(part)
        self._ahead = b"".join(parts)
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        data = self.peek(size)
        self._ahead = self._ahead[size:]
        self._given += len(data)
        self._marks.append((self._given, self._stream.position * (1 - len(self._ahead) / max(self._produced, 1))))
        return data

    def progress(self, handed: float) -> tuple[float, float | None]:
        """Return the position in the file that belongs to a number of bytes of text, and the size of the file."""
        if self._stream.size is None:
            return 0, None
        while self._marks and self._marks[0][0] <= handed:
            self._passed = self._marks.popleft()
        (start, low), (end, high) = self._passed, self._marks[0] if self._marks else self._passed
        share = (handed - start) / (end - start) if end > start else 0.0
        return low + share * (high - low), self._stream.size

    def total(self) -> tuple[float, float | None]:
        """Return the progress at the end."""
        return (0, None) if self._stream.size is None else (self._stream.size, self._stream.size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def check(self, columns: Sequence[pa.Array], names: Sequence[str], faults: list[Fault | None]) -> list[pa.Array]:
        """Add a fault for each row with bytes of another encoding, and return the columns without them."""
        if not self._has_marks:
            return list(columns)
        checked = []
        for name, column in zip(names, columns, strict=True):
            cells = column.to_pylist()
            bad = {i: found for i, cell in enumerate(cells) if cell and (found := _MARKS.search(cell))}
            for i, found in bad.items():
                shown = bytes(ord(mark) - _FIRST_MARK for mark in found.group()).hex(" ")
                text = f"column {name!r}: the bytes {shown} are not {encoding_name(self.encoding)}; {self._remedy()}"
                faults[i] = faults[i] or Fault("unreadable", text)
                cells[i] = _MARKS.sub("\ufffd", cells[i])
            checked.append(from_strings(cells).cast(pa.string()) if bad else column)
        return checked

    def has_mark(self, text: str) -> bool:
        """Return whether a text holds bytes of another encoding."""
        return self._has_marks and _MARKS.search(text) is not None

    def _remedy(self) -> str:
        other = "latin-1" if self.encoding == "utf-8" else "utf-8"
        return f"if the whole file is in another encoding, name it, such as --encoding {other}"

    def _decoded(self, data: bytes) -> bytes:
        if self.encoding == "utf-8" and data.isascii() and self._decoder.getstate()[0] == b"" and data:
            return data
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeError as error:
            raise InvalidInput(f"{self.where}: is not {encoding_name(self.encoding)}: {error}") from error
        if not self._has_marks and not text.isascii():
            self._has_marks = _MARKS.search(text) is not None
        return text.encode("utf-8", "replace")


def encoding_name(encoding: str) -> str:
    """Return the name of an encoding for people."""
    return encoding[:6].upper() if encoding.startswith(("utf-16", "utf-32")) else _NAMES.get(encoding, encoding)


def _known(encoding: str) -> str:
    """Return Python's name of an encoding."""
    try:
        info = codecs.lookup(encoding)
        codecs.getincrementaldecoder(encoding)("strict").decode(b"", final=True)
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"--encoding {encoding}: is not the name of an encoding; expected one such as utf-8 or latin-1"
        ) from error
    name = "utf-8" if info.name == "utf-8-sig" else info.name
    if not getattr(info, "_is_text_encoding", True):
        raise InvalidInput(f"--encoding {encoding}: is not an encoding of text; expected one such as utf-8 or latin-1")
    return name


def _guess(head: bytes, where: str) -> str:
    """Return the encoding of a text without a byte order mark."""
    if 0 in head:
        for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            # Western text in UTF-16 has a zero as every second byte.
            visible = head[1 - start :: 2]
            if head[start::2].count(0) > 0.4 * len(head) // 2 and visible == visible.translate(None, _CONTROLS):
                return encoding
        raise InvalidInput(f"{where}: holds binary data, not text; expected a table such as CSV, JSON lines or Parquet")
    if len(head) - len(head.translate(None, _CONTROLS)) > len(head) // 100:
        raise InvalidInput(f"{where}: holds binary data, not text; expected a table such as CSV, JSON lines or Parquet")
    if head.isascii():
        return "utf-8"
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(head)
        return "utf-8"
    except UnicodeDecodeError:
        text = codecs.getincrementaldecoder("utf-8")("anomaly_vae.mark").decode(head)
    others = [character for character in text if character > "\x7f"]
    bad = sum(ord(character) >= _FIRST_MARK for character in others)
    if 2 * bad < len(others) or not others:
        return "utf-8"
    return "iso8859-1" if _NOT_CP1252 & set(head) else "cp1252"
