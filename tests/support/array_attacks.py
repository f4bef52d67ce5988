"""Attacks on a bundle through its arrays."""

from __future__ import annotations

import numpy as np

from tests.support.attacks import CHECKPOINT, JOBLIB, PICKLE, Payload, saved, seal


def npy(array, **options):
    return saved(lambda content, buffer: np.save(buffer, content, **options), array)


def header(text, version=b"\1\0", body=b""):
    text = text.ljust(117) + "\n" if len(text) < 117 else text + "\n"
    size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode() + body


def claim(shape, descr="<f4", order=False):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"


REAL = np.zeros((16, 256, 2), np.float32)
ARRAYS = {
    "a pickle": PICKLE,
    "joblib": JOBLIB,
    "a torch checkpoint": CHECKPOINT,
    "objects": npy(np.array([Payload()], object), allow_pickle=True),
    "objects by the header": header(claim((16, 256, 2), "|O"), body=PICKLE),
    "another type": npy(REAL.astype("<i4")),
    "records": npy(np.zeros(4, [("a", "<f4")])),
    "big-endian": npy(REAL.astype(">f4")),
    "Fortran order": npy(np.asfortranarray(REAL)),
    "version 2": header(claim((16, 256, 2)), b"\2\0", REAL.tobytes()),
    "version 3": header(claim((16, 256, 2)), b"\3\0", REAL.tobytes()),
    "code in the header": header("__import__('pathlib').Path('executed').touch()"),
    "a deep header": header("(" * 60_000),
    "a long header": header(claim((16, 256, 2)) + " " * 65_000, body=REAL.tobytes())[:-1],
    "a huge shape": header(claim((16, 2**58, 2))),
    "a shape beyond counting": header(claim((0, 2**63 - 1, 3))),
    "a negative shape": header(claim((-16, -256, 2)), body=REAL.tobytes()),
    "a shape of long numbers": header(claim("(" + "9" * 59 + ", 1, 1)")),
    "bytes behind": npy(REAL) + b"\0",
    "NaN": npy(np.full_like(REAL, np.nan)),
    "infinity": npy(np.where(np.arange(2) > 0, np.float32(np.inf), REAL)),
}
ARRAY_ATTACKS = {f"array: {key}": (seal("noise.npy", data), r"noise\.npy: ") for key, data in ARRAYS.items()}
ARRAY_ATTACKS |= {
    "scores: NaN": (seal("calibration.npy", npy(np.full(120, np.nan))), r"calibration\.npy: holds NaN"),
    "scores: far apart": (seal("calibration.npy", npy(np.linspace(0, 1, 120) * 1.7e308 * np.array([-1, 1] * 60))),
                          r"calibration\.npy: is not sorted"),
}  # fmt: skip

GOLDEN = np.zeros((16, 6))
GOLDENS = {
    "a pickle": PICKLE,
    "a torch checkpoint": CHECKPOINT,
    "objects": npy(np.array([[Payload()] * 6], object), allow_pickle=True),
    "float32": npy(GOLDEN.astype(np.float32)),
    "an archive": saved(lambda content, buffer: np.savez(buffer, rows=content, log_px=content), GOLDEN),
    "no rows": npy(GOLDEN[:0]),
    "too many rows": npy(np.zeros((257, 6))),
    "no scores": npy(GOLDEN[:, :5]),
    "a further column": npy(np.zeros((16, 7))),
    "one dimension": npy(GOLDEN.ravel()),
    "three dimensions": npy(GOLDEN[None]),
    "no columns": npy(GOLDEN[:, :0]),
    "columns beyond counting": header(claim((0, 2**63 - 1), "<f8")),
    "Fortran order": npy(np.asfortranarray(GOLDEN)),
    "bytes behind": npy(GOLDEN) + b"\0",
    "NaN": npy(np.full_like(GOLDEN, np.nan)),
    "infinity": npy(np.where(np.arange(6) == 5, -np.inf, GOLDEN)),
    "other rows": npy(GOLDEN),
    "huge rows": npy(np.full_like(GOLDEN, 1.7e308)),
}
ARRAY_ATTACKS |= {f"golden rows: {key}": (seal("golden.npy", data), r"golden\.npy") for key, data in GOLDENS.items()}
