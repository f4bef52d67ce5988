"""Attacks on a bundle through its folder and its manifest, each with the expected error."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import socket
import stat
from pathlib import Path

import joblib
import pytest
import torch

from anomaly_vae.bundle.manifest import FORMAT_VERSION


class Payload:
    """Writes a file to the working directory when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def text_of(folder):
    return (folder / "manifest.json").read_text()


def checksum(manifest):
    """Return the right line of manifest.sha256."""
    return f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n".encode()


def write_manifest(folder, data):
    """Write other bytes to manifest.json, and their checksum."""
    (folder / "manifest.json").write_bytes(data)
    (folder / "manifest.sha256").write_bytes(checksum(data))


def put(data):
    """Return an attack that writes other bytes to manifest.json; ``data`` may be a function of its text."""
    return lambda folder: write_manifest(folder, data(text_of(folder)) if callable(data) else data)


def edit(change):
    """Return an attack that changes the JSON of the manifest."""

    def changed(text):
        manifest = json.loads(text)
        change(manifest)
        return json.dumps(manifest).encode()

    return put(changed)


def swap(old, new):
    """Return an attack that replaces a text at one place of manifest.json."""

    def changed(text):
        assert old in text
        return text.replace(old, new, 1).encode()

    return put(changed)


SUM = "manifest.sha256"


def line(change):
    """Return an attack that changes the line of manifest.sha256."""

    def attack(folder):
        (folder / SUM).write_bytes(change((folder / SUM).read_bytes()))

    return attack


def seal(name, data):
    """Return an attack that writes other bytes to a file, and their digest to the manifest."""

    def attack(folder):
        content = data((folder / name).read_bytes()) if callable(data) else data
        (folder / name).write_bytes(content)
        record = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        edit(lambda manifest: manifest["files"].update({name: record}))(folder)

    return attack


def saved(save, content=None):
    buffer = io.BytesIO()
    save(Payload() if content is None else content, buffer)
    return buffer.getvalue()


PICKLE, JOBLIB, CHECKPOINT = saved(pickle.dump), saved(joblib.dump), saved(torch.save)
YAML = b'!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ["executed"]]\n'


def beside(name, data=b""):
    return lambda folder: (folder / name).write_bytes(data)


def instead(make, name="noise.npy"):
    """Return an attack that puts something else under the name of a file."""

    def attack(folder):
        original = (folder / name).rename(folder.parent / "original")
        make(folder / name, original)

    return attack


def a_socket(path, _):
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has at most 108 bytes
        made.bind(path.name)
        os.chdir(here)


def a_device(path, _):
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root makes devices")


def sparse_file(size):
    """Return an attack with a sparse file: it has the size and takes no space on disk."""

    def attack(folder):
        os.truncate(folder / "golden.npy", size)
        edit(lambda manifest: manifest["files"]["golden.npy"].update(size=size))(folder)

    return attack


LINK = r"noise\.npy: is a link or not a regular file"
FOLDERS = {
    "pickle": (beside("model.pkl", PICKLE), r"'model\.pkl' is not part"),
    "joblib": (beside("model.joblib", JOBLIB), r"'model\.joblib' is not part"),
    "torch checkpoint": (beside("model.pt", CHECKPOINT), r"'model\.pt' is not part"),
    "YAML": (beside("MLmodel.yaml", YAML), r"'MLmodel\.yaml' is not part"),
    "library of operators": (beside("custom_ops.so", b"\x7fELF"), r"'custom_ops\.so' is not part"),
    "hidden file": (beside(".hidden"), r"'\.hidden' is not part"),
    "name with a terminal's escape": (beside("\x1b]0;x"), r"is not part"),
    "a folder in it": (lambda folder: (folder / "data").mkdir(), "'data' is not part"),
    "thousands of files": (lambda folder: [(folder / str(i)).touch() for i in range(2000)], "is not part"),
    "symlink": (instead(lambda path, original: path.symlink_to(original)), LINK),
    "symlink to a secret": (instead(lambda path, _: path.symlink_to("/etc/passwd")), LINK),
    "symlink to nothing": (instead(lambda path, _: path.symlink_to("nothing")), LINK),
    "hard link": (instead(lambda path, original: path.hardlink_to(original)), LINK),
    "folder": (instead(lambda path, _: path.mkdir()), LINK),
    "named pipe": (instead(lambda path, _: os.mkfifo(path)), LINK),
    "device": (instead(a_device), LINK),
    "socket": (instead(a_socket), r"noise\.npy: cannot be read"),
    "manifest is a symlink": (instead(lambda path, original: path.symlink_to(original), "manifest.json"), "is a link"),
    "manifest is a folder": (instead(lambda path, _: path.mkdir(), "manifest.json"), "is a link or not a regular"),
    "manifest is a pipe": (instead(lambda path, _: os.mkfifo(path), "manifest.json"), "is a link or not a regular"),
    "manifest is a pickle": (put(PICKLE), r"manifest\.json: not a manifest"),
    "manifest is YAML": (put(YAML), r"manifest\.json: not a manifest"),
    "manifest of holes": (lambda folder: os.truncate(folder / "manifest.json", 2**40), r"manifest\.json: .*at most"),
    "a file of holes": (sparse_file(2**30), r"manifest\.json: golden\.npy has 1073741824 bytes, expected at most"),
    "more files than memory": (
        edit(lambda m: [record.update(size=2**32) for name, record in m["files"].items() if name.endswith("onnx")]),
        "a bundle has at most",
    ),
}  # fmt: skip

CHANGED = r"manifest\.json: its sha256 starts [0-9a-f]{12}, manifest\.sha256 has another"
LONG = r"manifest\.sha256: .* bytes, expected at most 80"
FOLDERS |= {
    "manifest changed": (
        lambda folder: (folder / "manifest.json").write_text(text_of(folder).replace("flow", "glow")), CHANGED
    ),
    "checksum of another manifest": (line(lambda _: checksum(b"{}")), CHANGED),
    "checksum of another file": (line(lambda old: old.replace(b"json", b"JSON")), CHANGED),
    "checksum in capitals": (line(bytes.upper), CHANGED),
    "checksum in binary mode": (line(lambda old: old.replace(b"  ", b" *")), CHANGED),
    "checksum of Windows": (line(lambda old: old.replace(b"\n", b"\r\n")), LONG),
    "checksum without its end": (line(lambda old: old[:-1]), CHANGED),
    "checksum that is empty": (line(lambda _: b""), CHANGED),
    "checksum twice": (line(lambda old: old * 2), LONG),
    "checksum of holes": (lambda folder: os.truncate(folder / SUM, 2**40), LONG),
    "checksum is missing": (lambda folder: (folder / SUM).unlink(), r"manifest\.sha256 is missing; .*partly copied"),
    "checksum is a symlink": (instead(lambda path, original: path.symlink_to(original), SUM), r"\.sha256: is a link"),
    "checksum is a hard link": (instead(lambda path, original: path.hardlink_to(original), SUM), r"\.sha256: is a"),
    "checksum is a folder": (instead(lambda path, _: path.mkdir(), SUM), r"\.sha256: is a link or not a regular file"),
    "checksum is a pipe": (instead(lambda path, _: os.mkfifo(path), SUM), r"\.sha256: is a link or not a regular file"),
    "stray files and another": (
        lambda folder: [(folder / name).touch() for name in (".DS_Store", "Thumbs.db", "desktop.ini", "Desktop.ini")],
        r"'Desktop\.ini' is not part",
    ),
}  # fmt: skip

NAMES = ["../noise.npy", "/etc/passwd", "a/b", "a\\b", "\0", "x" * 10**6, "", ".", "..", "NOISE.NPY", "manifest.json"]
NAMES += [SUM, ".DS_Store"]
FOLDERS |= {
    f"listed: {name[:20]!r}": (
        edit(lambda m, name=name: m["files"].update({name: m["files"]["noise.npy"]})),
        r"manifest\.json: files must list",
    )
    for name in NAMES
}  # fmt: skip


def first(manifest):
    return manifest["members"][0]["columns"][0]


NONE = r"manifest\.json: not a manifest of a model bundle"
VERSION = f'"format_version": {FORMAT_VERSION}'
BETA = '"beta": 1.0'
MANIFESTS = {
    "a key twice": (swap(VERSION, f"{VERSION}, {VERSION}"), "key 'format_version' appears twice"),
    "a key twice, escaped": (swap(VERSION, f'"format\\u005fversion": 2, {VERSION}'), "appears twice"),
    "a file twice": (swap('"noise.npy": {', '"noise.npy": {}, "noise.npy": {'), r"'noise\.npy' appears twice"),
    "a key twice, in what we hardly read": (swap('"versions": {', '"versions": {"a": "1", "a": "2", '), "'a' appears"),
    "deep lists": (swap(BETA, '"beta": ' + "[" * 10**5 + "]" * 10**5), NONE),
    "deep objects": (put(b'{"a":' * 10**5), NONE),
    "many lists": (swap(BETA, '"beta": [' + "[]," * 5 * 10**6 + "0]"), "over 8388608 entries"),
    "a long integer": (swap(BETA, '"beta": ' + "9" * 10**6), NONE),
    "a long version": (swap(VERSION, '"format_version": ' + "9" * 10**6), NONE),
    "a long real": (swap(BETA, '"beta": 1e' + "9" * 10**6), NONE),
    "a long name": (swap(VERSION, f'{VERSION}, "{"k" * 10**6}": 1'), "unknown field `kkk"),
    "NaN": (swap(BETA, '"beta": NaN'), "NaN is not a number"),
    "Infinity": (swap(BETA, '"beta": Infinity'), "Infinity is not a number"),
    "-Infinity": (swap(BETA, '"beta": -Infinity'), "-Infinity is not a number"),
    "1e999": (swap(BETA, '"beta": 1e999'), NONE),
    "a byte order mark": (put(lambda text: b"\xef\xbb\xbf" + text.encode()), NONE),
    "UTF-16": (put(lambda text: text.encode("utf-16")), NONE),
    "no UTF-8": (put(lambda text: text.encode().replace(b"broken", b"\xc3\x28")), NONE),
    "half a letter": (swap('"broken"', '"\\ud800"'), NONE),
    "a comment": (put(lambda text: b"// hello\n" + text.encode()), NONE),
    "two manifests": (put(lambda text: 2 * text.encode()), NONE),
    "too long": (put(lambda text: text.encode() + b" " * 2**26), r"manifest\.json: .*at most 67108864"),
    "the next version": (
        edit(lambda m: m.update(format_version=FORMAT_VERSION + 1)),
        f"format version {FORMAT_VERSION + 1}, this release reads {FORMAT_VERSION}",
    ),
    "no version yet": (edit(lambda m: m.update(format_version=0)), "format version 0"),
    "a version of text": (edit(lambda m: m.update(format_version=str(FORMAT_VERSION))), NONE),
    "no version": (edit(lambda m: m.pop("format_version")), NONE),
    "an unknown field": (edit(lambda m: first(m).update(module="os")), "unknown field `module`"),
    "an unknown head": (edit(lambda m: first(m)["head"].update(kind="os.system")), NONE),
    "an unknown network": (edit(lambda m: m["members"][0]["architecture"].update(kind="torchscript")), NONE),
    "escapes in a gate": (edit(lambda m: m["training"]["gates"][0].update(detail="\x1b[2J")), "must be printable"),
    "escapes in a setting": (
        edit(lambda m: m["training"]["candidates"][0]["settings"].update(a="\x9b2J")), "must be printable"
    ),
    "a billion latents": (edit(lambda m: m["members"][0]["architecture"].update(latent_dim=10**9)), "latent_dim"),
    "more latents": (
        edit(lambda m: m["members"][0]["architecture"].update(latent_dim=1024)),
        "a prior must fit the latent dimensions",
    ),
    "wide layers": (edit(lambda m: m["members"][0]["architecture"].update(hidden=[2**40])), "hidden"),
    "seventeen members": (edit(lambda m: m.update(members=m["members"] * 17)), r"length <= 16"),
    "sixteen members": (edit(lambda m: m.update(members=m["members"] * 16)), "files must list exactly"),
    "a million columns": (
        edit(lambda m: m["schema"].update(columns=[{"name": str(i), "kind": "count"} for i in range(10**6)])),
        r"manifest\.json",
    ),
    "more columns": (
        edit(lambda m: m["schema"]["columns"].extend(m["schema"]["columns"][4] | {"name": str(i)}
                                                     for i in range(10**4))), "must be the columns of schema.inputs",
    ),
    "many categories": (
        edit(lambda m: m["schema"]["columns"][0].update(categories=[str(i) for i in range(1001)])), "length <= 1000"
    ),
    "more scramblings": (edit(lambda m: m["estimator"].update(scramblings=1024, num_samples=1024)), "has shape"),
    "more samples": (edit(lambda m: m["estimator"].update(num_samples=2**16)), "holds 4096 points"),
    "more calibration rows": (edit(lambda m: m["calibration"].update(
        num_rows=2**40, rank=1, effective_fpr=1 / (2**40 + 1))), r"calibration\.npy: holds 120 scores"),
    "a tiny scale": (edit(lambda m: first(m)["transform"].update(scale=5e-324)), r"golden\.npy"),
    "a huge step": (edit(lambda m: first(m)["head"].update(step=1e308)), r"golden\.npy"),
    "a share of 0": (edit(lambda m: m["schema"]["columns"][4].update(other_share=0.0)), "other_share"),
    "a share of 1": (edit(lambda m: m["schema"]["columns"][4].update(other_share=1)), "other_share"),
    "a negative category": (edit(lambda m: m["schema"]["columns"][4].update(rare=[-1])), "rare"),
    "a far category": (edit(lambda m: m["schema"]["columns"][4].update(rare=[2**40])), "increasing indices"),
    "many rare categories": (edit(lambda m: m["schema"]["columns"][4].update(rare=[0] * 1001)), "length <= 1000"),
    "a huge constant": (edit(lambda m: m["schema"]["columns"][4].update(value=1e308)), r"golden\.npy"),
}  # fmt: skip
PLACES = [
    "threshold",
    "held_out_elbo",
    "log_var",
    "center",
    "scale",
    "parts",
    "masked",
    "whole",
    "value",
    "confidence",
    "other_share",
]


def number(place, odd):
    """Return an attack that puts a text in place of the first number of a field: it is not JSON or not a float64."""

    def changed(text):
        return re.sub(rf'("{place}": (?:\[\s*)?)(?:null|[-+.0-9e]+)', rf"\g<1>{odd}", text, count=1).encode()

    return put(changed)


MANIFESTS |= {
    f"{place} is {odd}": (number(place, odd), f"{NONE}: ({odd} is not a number|Number out of range)")
    for place in PLACES
    for odd in ("NaN", "-1e400")
}
