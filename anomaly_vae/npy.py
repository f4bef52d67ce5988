"""Plain arrays to bytes and back, in the one form that we write; nothing is allocated by what a header claims."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import BundleError

__all__ = ["npy", "npz", "parse_npy", "parse_npz"]

# What a zip archive adds to its members, at most: their entries, twice, and its end. See
# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
_ZIP_BYTES = 1024
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP_END_MARK, _ZIP64_MARK = b"PK\5\6", b"PK\6\7"
_LONGEST_TEXT = 200

_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"(?P<text>\{'descr': '(?P<descr><f[48])', 'fortran_order': False, 'shape': \((?P<shape>[0-9, ]{1,60})\), \} *\n)",
    re.DOTALL,
)


def npy(array: NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def npz(**arrays: NDArray[np.generic]) -> bytes:
    """The bytes of an uncompressed .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def parse_npy(data: bytes, dtype: np.dtype[Any], ndim: int, where: str) -> NDArray[Any]:
    """Parse the bytes of a .npy file of finite numbers.

    Raises:
        BundleError: They are none, or not of this type and number of dimensions.
    """
    header = _NPY_HEADER.match(data)
    if header is None or int.from_bytes(header["length"], "little") != len(header["text"]):
        raise BundleError(f"{where}: not a .npy array of numbers in C order")
    shape = tuple(int(size) for size in header["shape"].replace(b" ", b"").split(b",") if size)
    if header["descr"].decode() != dtype.str or len(shape) != ndim:
        found = header["descr"].decode()
        raise BundleError(f"{where}: {found} array of shape {shape}, expected {dtype.str} with {ndim} dimensions")
    body = data[header.end() :]
    # Beside a 0 any size would fit, even one that numpy cannot count to.
    if max(shape) > len(body) or math.prod(shape) * dtype.itemsize != len(body):
        raise BundleError(f"{where}: shape {shape} needs another size than its {len(body)} bytes")
    array = np.frombuffer(body, dtype).reshape(shape)
    if not np.isfinite(array).all():
        raise BundleError(f"{where}: holds NaN or an infinity")
    return array


def parse_npz(data: bytes, ndims: Mapping[str, int], where: str) -> dict[str, NDArray[Any]]:
    """Parse the bytes of an uncompressed .npz file of exactly these float64 arrays, by name their dimensions.

    Raises:
        BundleError: They are something else.
    """
    expected = {f"{name}.npy" for name in ndims}
    if not _has_short_list(data):  # each of its entries would take many times its bytes once parsed
        raise BundleError(f"{where}: not a .npz archive as numpy writes it")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sorted(member.filename for member in members) != sorted(expected):
                found = str([member.filename for member in members])[:_LONGEST_TEXT]
                raise BundleError(f"{where}: holds {found}, expected {sorted(expected)}")
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > len(data) for m in members):
                raise BundleError(f"{where}: is compressed; expected plain arrays")
            if not 0 <= len(data) - sum(member.file_size for member in members) <= _ZIP_BYTES:
                raise BundleError(f"{where}: holds other bytes beside its arrays, or some of them twice")
            contents = {name: archive.read(f"{name}.npy") for name in ndims}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"{where}: not a .npz archive: {str(error)[:_LONGEST_TEXT]}") from error
    return {name: parse_npy(contents[name], np.dtype("<f8"), ndim, f"{where}:{name}") for name, ndim in ndims.items()}


def _has_short_list(data: bytes) -> bool:
    """Whether a zip archive ends with its list of members, which is short, and no comment."""
    if len(data) < _ZIP_END.size:
        return False
    mark, *_, list_size, _, comment_size = _ZIP_END.unpack(data[-_ZIP_END.size :])
    plain = mark == _ZIP_END_MARK and comment_size == 0 and data[-42:-38] != _ZIP64_MARK
    return bool(plain and list_size <= _ZIP_BYTES)
