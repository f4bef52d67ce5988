"""Attacks on a bundle by its arrays and the archive of golden rows."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np

from tests.attacks import CHECKPOINT, JOBLIB, PICKLE, Payload, saved, seal


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

ROWS, LOG_PX = npy(np.zeros((64, 5))), npy(np.zeros(64))


def archive(*members, compression=zipfile.ZIP_STORED, comment=b""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in members:
            made.writestr(name, data)
        made.comment = comment
    return buffer.getvalue()


PLAIN = archive(("rows.npy", ROWS), ("log_px.npy", LOG_PX))


def patched(mark, offset, data):
    """The plain archive with other bytes at a place of each header that bears the mark."""
    out, at = bytearray(PLAIN), PLAIN.find(mark)
    while at >= 0:
        out[at + offset : at + offset + len(data)] = data
        at = PLAIN.find(mark, at + 1)
    return bytes(out)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


ENTRY, LOCAL = b"PK\1\2", b"PK\3\4"
ARCHIVES = {
    "compressed": archive(("rows.npy", ROWS), ("log_px.npy", LOG_PX), compression=zipfile.ZIP_DEFLATED),
    "a bomb": archive(("rows.npy", bytes(2**24)), ("log_px.npy", LOG_PX), compression=zipfile.ZIP_DEFLATED),
    "a further member": archive(("rows.npy", ROWS), ("log_px.npy", LOG_PX), ("x.pkl", PICKLE)),
    "a missing member": archive(("rows.npy", ROWS)),
    "a name that climbs": archive(("../rows.npy", ROWS), ("log_px.npy", LOG_PX)),
    "an absolute name": archive(("/rows.npy", ROWS), ("log_px.npy", LOG_PX)),
    "a name cut by a zero": archive(("rows.npy", ROWS), ("log_px.npy", LOG_PX)).replace(b"rows.npy", b"rows.np\0"),
    "a comment": archive(("rows.npy", ROWS), ("log_px.npy", LOG_PX), comment=PICKLE),
    "bytes before": bytes(2000) + PLAIN,
    "bytes behind": PLAIN + bytes(2000),
    "encrypted": patched(ENTRY, 8, b"\1\0"),
    "overlapping": patched(ENTRY, 42, b"\0\0\0\0"),
    "a wrong checksum": patched(ENTRY, 16, b"abcd"),
    "a changed byte": flipped(PLAIN, 300),
    "a size that lies": patched(ENTRY, 20, struct.pack("<LL", 2**31, 2**31)),
    "another method": patched(ENTRY, 10, b"\x5d\0"),
    "a newer format": patched(ENTRY, 6, b"\xff\0"),
    "a member twice": PLAIN.replace(b"log_px.npy", b"rows.npy\0\0"),
    "objects": archive(("rows.npy", npy(np.array([Payload()], object), allow_pickle=True)), ("log_px.npy", LOG_PX)),
    "NaN": archive(("rows.npy", ROWS), ("log_px.npy", npy(np.full(64, np.nan)))),
    "infinity": archive(("rows.npy", npy(np.full((64, 5), -np.inf))), ("log_px.npy", LOG_PX)),
    "no rows": archive(("rows.npy", npy(np.zeros((0, 5)))), ("log_px.npy", npy(np.zeros(0)))),
    "other rows": PLAIN,
    "a pickle": PICKLE,
    "a torch checkpoint": CHECKPOINT,
    "a list of members": (ENTRY + bytes(42)) * 200 + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 200, 200, 9200, 0, 0),
}  # fmt: skip
ARRAY_ATTACKS |= {f"archive: {key}": (seal("golden.npz", data), r"golden\.npz") for key, data in ARCHIVES.items()}
