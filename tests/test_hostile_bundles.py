"""Bundles made to harm: each is refused with a line that names the file, nothing of it runs, and memory stays small.

Every case starts from a real bundle. Where the attack would otherwise be caught by a digest, the digest is made right:
whoever can change a file can change the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import shutil
import socket
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import joblib
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf.internal import encoder
from onnx import TensorProto, helper, numpy_helper

from anomaly_vae import bundle as reader
from anomaly_vae.errors import BundleError
from anomaly_vae.manifest import decode_manifest
from anomaly_vae.onnx_shapes import _RULES
from anomaly_vae.onnx_wire import OPERATORS
from anomaly_vae.runtime import OnnxNetwork
from anomaly_vae.scorer import load

# What loading may take, many times what the model does.
_MOST_MEMORY = 32 * 2**20


class Payload:
    """Once unpickled, it leaves a file in the working directory."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def text_of(folder):
    return (folder / "manifest.json").read_text()


def edit(change):
    """Change the manifest's JSON."""

    def attack(folder):
        manifest = json.loads(text_of(folder))
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return attack


def put(data):
    """Other bytes for manifest.json."""
    return lambda folder: (folder / "manifest.json").write_bytes(data(text_of(folder)) if callable(data) else data)


def swap(old, new):
    """Other text at one place of manifest.json."""

    def attack(folder):
        text = text_of(folder)
        assert old in text
        (folder / "manifest.json").write_text(text.replace(old, new, 1))

    return attack


def seal(name, data):
    """Other bytes for a file, with their digest."""

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
    """Something else under a file's name."""

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


def full_of_holes(size):
    """A file that claims its size and takes no space."""

    def attack(folder):
        os.truncate(folder / "golden.npz", size)
        edit(lambda manifest: manifest["files"]["golden.npz"].update(size=size))(folder)

    return attack


LINK = r"noise\.npy: is a link or no regular file"
FOLDERS = {
    "pickle": (beside("model.pkl", PICKLE), r"'model\.pkl' is no part"),
    "joblib": (beside("model.joblib", JOBLIB), r"'model\.joblib' is no part"),
    "torch checkpoint": (beside("model.pt", CHECKPOINT), r"'model\.pt' is no part"),
    "YAML": (beside("MLmodel.yaml", YAML), r"'MLmodel\.yaml' is no part"),
    "library of operators": (beside("custom_ops.so", b"\x7fELF"), r"'custom_ops\.so' is no part"),
    "hidden file": (beside(".hidden"), r"'\.hidden' is no part"),
    "name with a terminal's escape": (beside("\x1b]0;x"), r"is no part"),
    "a folder in it": (lambda folder: (folder / "data").mkdir(), "'data' is no part"),
    "thousands of files": (lambda folder: [(folder / str(i)).touch() for i in range(2000)], "is no part"),
    "symlink": (instead(lambda path, original: path.symlink_to(original)), LINK),
    "symlink to a secret": (instead(lambda path, _: path.symlink_to("/etc/passwd")), LINK),
    "symlink to nothing": (instead(lambda path, _: path.symlink_to("nothing")), LINK),
    "hard link": (instead(lambda path, original: path.hardlink_to(original)), LINK),
    "folder": (instead(lambda path, _: path.mkdir()), LINK),
    "named pipe": (instead(lambda path, _: os.mkfifo(path)), LINK),
    "device": (instead(a_device), LINK),
    "socket": (instead(a_socket), r"noise\.npy: cannot be read"),
    "manifest is a symlink": (instead(lambda path, original: path.symlink_to(original), "manifest.json"), "is a link"),
    "manifest is a folder": (instead(lambda path, _: path.mkdir(), "manifest.json"), "is a link or no regular"),
    "manifest is a pipe": (instead(lambda path, _: os.mkfifo(path), "manifest.json"), "is a link or no regular"),
    "manifest is a pickle": (put(PICKLE), r"manifest\.json: not a manifest"),
    "manifest is YAML": (put(YAML), r"manifest\.json: not a manifest"),
    "manifest of holes": (lambda folder: os.truncate(folder / "manifest.json", 2**40), r"manifest\.json: .*at most"),
    "a file of holes": (full_of_holes(2**30), r"manifest\.json: golden\.npz has 1073741824 bytes, expected at most"),
    "more files than memory": (
        edit(lambda m: [record.update(size=2**32) for name, record in m["files"].items() if name.endswith("onnx")]),
        "a bundle has at most",
    ),
}  # fmt: skip

NAMES = ["../noise.npy", "/etc/passwd", "a/b", "a\\b", "\0", "x" * 10**6, "", ".", "..", "manifest.json", "NOISE.NPY"]
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
VERSION = '"format_version": 3'
BETA = '"beta": 1.0'
MANIFESTS = {
    "a key twice": (swap(VERSION, f"{VERSION}, {VERSION}"), "key 'format_version' stands twice"),
    "a key twice, escaped": (swap(VERSION, f'"format\\u005fversion": 2, {VERSION}'), "stands twice"),
    "a file twice": (swap('"noise.npy": {', '"noise.npy": {}, "noise.npy": {'), r"'noise\.npy' stands twice"),
    "a key twice, in what we hardly read": (swap('"versions": {', '"versions": {"a": "1", "a": "2", '), "'a' stands"),
    "deep lists": (swap(BETA, '"beta": ' + "[" * 10**5 + "]" * 10**5), NONE),
    "deep objects": (put(b'{"a":' * 10**5), NONE),
    "many lists": (swap(BETA, '"beta": [' + "[]," * 3 * 10**6 + "0]"), "over 2097152 entries"),
    "a long integer": (swap(BETA, '"beta": ' + "9" * 10**6), NONE),
    "a long version": (swap(VERSION, '"format_version": ' + "9" * 10**6), NONE),
    "a long real": (swap(BETA, '"beta": 1e' + "9" * 10**6), NONE),
    "a long name": (swap(VERSION, f'{VERSION}, "{"k" * 10**6}": 1'), "unknown field `kkk"),
    "NaN": (swap(BETA, '"beta": NaN'), "NaN is no number"),
    "Infinity": (swap(BETA, '"beta": Infinity'), "Infinity is no number"),
    "-Infinity": (swap(BETA, '"beta": -Infinity'), "-Infinity is no number"),
    "1e999": (swap(BETA, '"beta": 1e999'), NONE),
    "a byte order mark": (put(lambda text: b"\xef\xbb\xbf" + text.encode()), NONE),
    "UTF-16": (put(lambda text: text.encode("utf-16")), NONE),
    "no UTF-8": (put(lambda text: text.encode().replace(b"broken", b"\xc3\x28")), NONE),
    "half a letter": (swap('"broken"', '"\\ud800"'), NONE),
    "a comment": (put(lambda text: b"// hello\n" + text.encode()), NONE),
    "two manifests": (put(lambda text: 2 * text.encode()), NONE),
    "too long": (put(lambda text: text.encode() + b" " * 2**24), r"manifest\.json: .*at most 16777216"),
    "the next version": (edit(lambda m: m.update(format_version=4)), "format version 4, this release reads 3"),
    "no version yet": (edit(lambda m: m.update(format_version=0)), "format version 0"),
    "a version of text": (edit(lambda m: m.update(format_version="3")), NONE),
    "no version": (edit(lambda m: m.pop("format_version")), NONE),
    "an unknown field": (edit(lambda m: first(m).update(module="os")), "unknown field `module`"),
    "an unknown head": (edit(lambda m: first(m)["head"].update(kind="os.system")), NONE),
    "an unknown network": (edit(lambda m: m["members"][0]["architecture"].update(kind="torchscript")), NONE),
    "escapes in a gate": (edit(lambda m: m["training"]["gates"][0].update(detail="\x1b[2J")), "must be printable"),
    "escapes in a setting": (
        edit(lambda m: m["training"]["candidates"][0]["settings"].update(a="\x9b2J")), "must be printable"
    ),
    "a billion latents": (edit(lambda m: m["members"][0]["architecture"].update(latent_dim=10**9)), "latent_dim"),
    "more latents": (edit(lambda m: m["members"][0]["architecture"].update(latent_dim=1024)), r"noise\.npy: has shape"),
    "wide layers": (edit(lambda m: m["members"][0]["architecture"].update(hidden=[2**40])), "hidden"),
    "seventeen members": (edit(lambda m: m.update(members=m["members"] * 17)), r"length <= 16"),
    "sixteen members": (edit(lambda m: m.update(members=m["members"] * 16)), "files must list exactly"),
    "a million columns": (
        edit(lambda m: m["schema"].update(columns=[{"name": str(i), "kind": "count"} for i in range(10**6)])),
        r"manifest\.json",
    ),
    "more columns": (
        edit(lambda m: m["schema"]["columns"].extend({"name": str(i), "kind": "constant", "value": 0.0}
                                                     for i in range(10**4))), r"golden\.npz: has rows of shape",
    ),
    "many categories": (
        edit(lambda m: m["schema"]["columns"][0].update(categories=[str(i) for i in range(1001)])), "length <= 1000"
    ),
    "more scramblings": (edit(lambda m: m["estimator"].update(scramblings=1024, num_samples=1024)), "has shape"),
    "more samples": (edit(lambda m: m["estimator"].update(num_samples=2**16)), "holds 4096 points"),
    "more calibration rows": (edit(lambda m: m["calibration"].update(
        num_rows=2**40, rank=1, effective_fpr=1 / (2**40 + 1))), r"calibration\.npy: holds 120 scores"),
    "a tiny scale": (edit(lambda m: first(m)["transform"].update(scale=5e-324)), r"golden\.npz"),
    "a huge step": (edit(lambda m: first(m)["head"].update(step=1e308)), r"golden\.npz"),
    "a huge constant": (edit(lambda m: m["schema"]["columns"][4].update(value=1e308)), r"golden\.npz"),
}  # fmt: skip
PLACES = ["threshold", "held_out_elbo", "log_var", "center", "scale", "parts", "masked", "whole", "value", "confidence"]


def number(place, odd):
    """The first number of a field, or of a field's list, as no JSON or no float64 has it."""

    def changed(text):
        return re.sub(rf'("{place}": (?:\[\s*)?)(?:null|[-+.0-9e]+)', rf"\g<1>{odd}", text, count=1).encode()

    return put(changed)


MANIFESTS |= {
    f"{place} is {odd}": (number(place, odd), f"{NONE}: ({odd} is no number|Number out of range)")
    for place in PLACES
    for odd in ("NaN", "-1e400")
}


def graph(change, name="decoder.onnx"):
    """A real graph, changed with the onnx package."""

    def changed(data):
        model = onnx.load_from_string(data)
        change(model)
        return model.SerializeToString()

    return seal(name, changed)


def outside(tensor=None):
    """A tensor whose numbers lie in another file."""
    tensor = tensor or numpy_helper.from_array(np.ones(4, np.float32), "evil")
    for field in ("raw_data", "float_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def node(*arguments, **attributes):
    return lambda model: model.graph.node.insert(0, helper.make_node(*arguments, **attributes))


def body(*nodes, weights=()):
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])
    return helper.make_graph(list(nodes), "body", [], [value], initializer=list(weights))


CONSTANT = helper.make_node("Constant", [], ["b"], value=outside())
HIDDEN = body(CONSTANT)


def sparse():
    indices = numpy_helper.from_array(np.array([0]), "i")
    return helper.make_sparse_tensor(outside(), indices, [4])


def with_function(model):
    inner = [helper.make_node("Constant", [], ["b"], value=outside())]
    model.functions.append(helper.make_function("own", "Gemm", ["a"], ["b"], inner, []))


def in_weight(place, value):
    def change(model):
        weight = next(w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT)
        array = numpy_helper.to_array(weight).copy()
        array.flat[place] = value
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    return change


def weights(**arrays):
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def bomb(*nodes, **arrays):
    """More nodes, which the output does not need, and their weights."""

    def change(model):
        model.graph.initializer.extend(weights(**arrays))
        for arguments in nodes:
            attributes = {"axis": 0} if arguments[0] == "Concat" else {}
            model.graph.node.append(helper.make_node(arguments[0], *arguments[1:], **attributes))

    return change


def doubled(times):
    return [("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"]) for i in range(times)]


def ort_format(data):
    """The same network in onnxruntime's own format, which has a parser of its own."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = "decoder.ort"
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return Path("decoder.ort").read_bytes()


def two_formats(data):
    """A valid ONNX model that bears the mark by which onnxruntime takes a file for its own format."""
    model = onnx.load_from_string(data)
    model.ClearField("producer_name")
    return b"\x12\x06\0\0ORTM" + model.SerializeToString()


def flood_of_dims(data):
    """A tensor with two million dimensions, a byte each, which would take forty bytes each as integers."""
    dims = field(1, b"\1" * 2**21)
    return field(7, field(5, dims + b"\x10\1")) + field(
        8, onnx.load_from_string(data).opset_import[0].SerializeToString()
    )


def field(number, value):
    return encoder.TagBytes(number, 2) + encoder._VarintBytes(len(value)) + value


def renamed_output(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "parameters"


def lying_output(model):
    """The last value is of another shape than the graph declares."""
    model.graph.node[-1].output[0] = "wide"
    model.graph.initializer.extend(weights(two=[-1, 2]))
    model.graph.node.append(helper.make_node("Reshape", ["wide", "two"], ["params"]))


REFUSED = r"decoder\.onnx: refused: .*"
GRAPHS = {
    "external initialiser": (lambda m: outside(m.graph.initializer[0]), "field 1[34] of the tensor"),
    "external sparse initialiser": (lambda m: m.graph.sparse_initializer.append(sparse()), "field 15 of the graph"),
    "external Constant": (lambda m: m.graph.node.insert(0, CONSTANT), "operator 'Constant'"),
    "sparse Constant": (node("Constant", [], ["b"], sparse_value=sparse()), "operator 'Constant'"),
    "external tensor in an attribute": (node("Log", ["z"], ["b"], t=outside()), "field 5 of the attribute"),
    "external tensors in an attribute": (node("Log", ["z"], ["b"], t=[outside()]), "field 10 of the attribute"),
    "external in If": (node("If", ["z"], ["b"], then_branch=HIDDEN, else_branch=HIDDEN), "operator 'If'"),
    "external in Loop": (node("Loop", ["", "", "z"], ["b"], body=HIDDEN), "operator 'Loop'"),
    "external in Scan": (node("Scan", ["z"], ["b"], body=HIDDEN, num_scan_inputs=1), "operator 'Scan'"),
    "a graph in an attribute": (node("Log", ["z"], ["b"], g=HIDDEN), "field 6 of the attribute"),
    "graphs in an attribute": (node("Log", ["z"], ["b"], g=[HIDDEN]), "field 11 of the attribute"),
    "a function of its own": (with_function, "field 25 of the model"),
    "training graphs": (lambda m: m.training_info.add(), "field 20 of the model"),
    "options for onnxruntime": (lambda m: m.metadata_props.add(key="ort_config", value="{}"), "field 14"),
    "an operator of a library": (node("Evil", ["z"], ["b"], domain="com.evil"), "domain b'com.evil'"),
    "Python as an operator": (node("PyOp", ["z"], ["b"], domain="ai.onnx.contrib"), "domain b'ai.onnx.contrib'"),
    "a foreign domain": (lambda m: setattr(m.opset_import[0], "domain", "com.microsoft"), "domain b'com.microsoft'"),
    "two operator sets": (lambda m: m.opset_import.add(domain="ai.onnx", version=18), "stands 2 times"),
    "another operator set": (lambda m: setattr(m.opset_import[0], "version", 2**40), "operator set 1099511627776"),
    "NaN": (in_weight(0, np.nan), "NaN or infinite"),
    "infinity at the end": (in_weight(-1, -np.inf), "NaN or infinite"),
    "text": (lambda m: m.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"])), "tensor"),
    "float64": (lambda m: m.graph.initializer.extend(weights(w=np.ones(2))), "data type 11"),
    "a huge tensor": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**30), r"shape \[1073741824"),
    "a column times a row": (
        bomb(("MatMul", ["col", "row"], ["big"]), col=np.ones((10**5, 1), np.float32),
             row=np.ones((1, 10**5), np.float32)), "its values need more than"),
    "a column plus a row": (
        bomb(("Add", ["col", "row"], ["big"]), col=np.ones((10**5, 1), np.float32), row=np.ones(10**5, np.float32)),
        "its values need more than"),
    "doubled again and again": (bomb(*doubled(60), d0=np.ones(2, np.float32)), "its values need more than"),
    "a shape doubled again and again": (bomb(*doubled(60), d0=np.ones(2, np.int64)), "its values need more than"),
    "a shape made of data": (bomb(("Mul", ["two", "two"], ["s"]), ("Reshape", ["z", "s"], ["b"]), two=[2, 2]),
                             "not known before it runs"),
    "nodes out of order": (node("Log", ["params"], ["b"]), "made nowhere before it"),
    "a name twice": (bomb(("Log", ["z"], ["params"])), "given twice"),
    "a weight twice": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "given twice"),
    "ten thousand nodes": (lambda m: m.graph.node.extend([m.graph.node[0]] * 10**4), "over 10000 fields"),
    "a long name": (node("x" * 10**6, ["z"], ["b"]), "operator 'xxx"),
}  # fmt: skip
ATTACKS = FOLDERS | MANIFESTS | {f"graph: {k}": (graph(change), REFUSED + text) for k, (change, text) in GRAPHS.items()}
ATTACKS |= {
    "graph: the encoder's": (lambda f: seal("decoder.onnx", (f / "encoder.onnx").read_bytes())(f), "inputs or outputs"),
    "graph: another name": (graph(renamed_output), r"decoder\.onnx: has inputs or outputs"),
    "graph: another type": (
        graph(lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 7)), r"decoder\.onnx: onnxruntime"
    ),
    "graph: another output": (graph(lambda m: m.graph.output.append(m.graph.input[0])), r"decoder\.onnx: "),
    "graph: a shape that lies": (graph(lying_output), r"decoder\.onnx: "),
    "graph: a million dimensions": (seal("decoder.onnx", flood_of_dims), REFUSED + "a tensor has shape"),
    "graph: onnxruntime's own format": (seal("decoder.onnx", ort_format), REFUSED + "it is in onnxruntime's own"),
    "graph: two formats": (seal("decoder.onnx", two_formats), REFUSED + "it is in onnxruntime's own format"),
    "graph: a pickle": (seal("decoder.onnx", PICKLE), REFUSED),
    "graph: a torch checkpoint": (seal("decoder.onnx", CHECKPOINT), REFUSED),
    "graph: nothing": (seal("decoder.onnx", b""), REFUSED),
}  # fmt: skip


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
ATTACKS |= {f"array: {key}": (seal("noise.npy", data), r"noise\.npy: ") for key, data in ARRAYS.items()}
ATTACKS |= {
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
ATTACKS |= {f"archive: {key}": (seal("golden.npz", data), r"golden\.npz") for key, data in ARCHIVES.items()}


@pytest.fixture
def hostile(model_path, tmp_path, monkeypatch):
    """Make the bundle of a case, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def make(name):
        folder = shutil.copytree(model_path, tmp_path / "model")
        ATTACKS[name][0](folder)
        return folder

    return make


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_bundle_is_refused_in_one_line_and_nothing_of_it_runs(hostile, name):
    folder = hostile(name)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=ATTACKS[name][1]) as caught:
            load(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not Path("executed").exists()
    assert len(str(caught.value)) < 1500
    assert peak < _MOST_MEMORY + 8 * (folder / "manifest.json").lstat().st_size


@pytest.mark.parametrize("command", [["inspect"], ["score"], ["serve", "--port", "0", "--metrics-port", "0"]])
@pytest.mark.parametrize(
    "name", ["pickle", "folder", "a key twice", "graph: two formats", "array: a shape beyond counting"]
)
def test_every_command_exits_3_with_one_line(hostile, run_cli, tmp_path, command, name):
    folder = hostile(name)
    (tmp_path / "rows.csv").write_text("x\n1\n")
    rows = [tmp_path / "rows.csv", "-o", "-"] if command == ["score"] else []
    done = run_cli(command[0], folder, *rows, *command[1:], code=3)
    assert done.stdout == b""
    assert done.stderr.startswith(b"anomaly-vae: error: ")
    assert done.stderr.count(b"\n") == 1


def test_the_bytes_that_were_checked_are_the_bytes_that_are_used(model_path, tmp_path, monkeypatch, new_rows):
    """A file that is exchanged after it was read changes nothing; neither does one exchanged for a link."""
    expected = load(model_path).score(new_rows).log_px
    folder = shutil.copytree(model_path, tmp_path / "model")
    check, seen = reader._check_digest, []

    def exchange(data, record, where):
        Path(where).unlink()
        Path(where).symlink_to("/etc/passwd") if len(seen) % 2 else Path(where).write_bytes(PICKLE)
        seen.append(where)
        check(data, record, where)

    monkeypatch.setattr(reader, "_check_digest", exchange)
    assert load(folder).score(new_rows).log_px.tobytes() == expected.tobytes()
    assert len(seen) == 6


def test_another_folder_under_the_same_name_is_not_mixed_in(model_path, tmp_path, monkeypatch):
    """Files are read through the folder that was opened, whatever its path leads to later."""
    folder = shutil.copytree(model_path, tmp_path / "model")

    def replace(data, where):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        (folder / "noise.npy").write_bytes(PICKLE)
        return decode_manifest(data, where)

    monkeypatch.setattr(reader, "decode_manifest", replace)
    load(folder)
    assert os.listdir(folder) == ["noise.npy"]


def test_onnxruntime_reads_onnx_only(bundle, tmp_path, monkeypatch):
    """The second line of defence: the session itself does not look for its own format."""
    monkeypatch.chdir(tmp_path)
    graphs = dict(bundle.files)
    graphs["decoder.onnx"] = ort_format(graphs["decoder.onnx"])
    with pytest.raises(BundleError, match=r"decoder\.onnx: onnxruntime cannot load it"):
        OnnxNetwork(graphs, latent_dim=2, num_features=4, num_params=4)


def test_each_operator_has_a_rule_for_its_shape():
    assert set(_RULES) == set(OPERATORS)
