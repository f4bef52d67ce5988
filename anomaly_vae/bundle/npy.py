"""Arrays to .npy bytes and back, in the one form that we write; no memory is allocated from what a header claims."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import BundleError

__all__ = ["npy_bytes", "parse_npy"]

# See https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0. numpy's own reader evaluates
# the header as Python literals.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"(?P<text>\{'descr': '(?P<descr><f[48])', 'fortran_order': False, 'shape': \((?P<shape>[0-9, ]{1,60})\), \} *\n)",
    re.DOTALL,
)


def npy_bytes(array: NDArray[np.generic]) -> bytes:
    """Return the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def parse_npy(data: bytes, dtype: np.dtype[Any], ndim: int, where: str) -> NDArray[Any]:
    """Parse the bytes of a .npy file of finite numbers.

    Raises:
        BundleError: The bytes are not such a file, or the array has another type or number of dimensions.
    """
    header = _NPY_HEADER.match(data)
    if header is None or int.from_bytes(header["length"], "little") != len(header["text"]):
        raise BundleError(f"{where}: not a .npy array of numbers in C order")
    shape = tuple(int(size) for size in header["shape"].replace(b" ", b"").split(b",") if size)
    if header["descr"].decode() != dtype.str or len(shape) != ndim:
        found = header["descr"].decode()
        raise BundleError(f"{where}: {found} array of shape {shape}, expected {dtype.str} with {ndim} dimensions")
    body = data[header.end() :]
    # If one size is 0, the product is 0 whatever the others are, even sizes beyond numpy's integers.
    if max(shape) > len(body) or math.prod(shape) * dtype.itemsize != len(body):
        raise BundleError(f"{where}: shape {shape} needs another size than its {len(body)} bytes")
    array = np.frombuffer(body, dtype).reshape(shape)
    if not np.isfinite(array).all():
        raise BundleError(f"{where}: holds NaN or an infinity")
    return array
