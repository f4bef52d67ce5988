"""Coverage-guided fuzzing of the bundle reader; ``make fuzz`` runs it. See :func:`tests.fuzz.targets.loaded`.

The first byte of an input says which file of a bundle the rest is. If its parser accepts it, the bundle is loaded.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["anomaly_vae"]):
    import onnx
    from google.protobuf.message import DecodeError

    from anomaly_vae.bundle.file_arrays import ARRAYS
    from anomaly_vae.bundle.manifest import graph_names
    from tests.fuzz.mutations import changed_json, changed_message
    from tests.fuzz.seeds import small_bundle
    from tests.fuzz.targets import CHECKSUM, MANIFEST, loaded, parses

_NAMES = (MANIFEST, CHECKSUM, *graph_names(1), *ARRAYS)
_FOLDER = tempfile.TemporaryDirectory()
_MODEL = Path(_FOLDER.name) / "model"


def run(data: bytes) -> None:
    """Parse one file, and load the bundle with it if its parser accepts it."""
    if data:
        name = _NAMES[data[0] % len(_NAMES)]
        if parses(name, data[1:]):
            loaded(_MODEL, name, data[1:])


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change fields of JSON or protobuf half of the time, and bytes otherwise."""
    rng = random.Random(seed)
    if data and rng.randrange(2):
        kind, content = data[:1], data[1:]
        name = _NAMES[kind[0] % len(_NAMES)]
        try:
            if name == MANIFEST:
                return (kind + changed_json(rng, content))[:max_size]
            if name.endswith(".onnx"):
                return (kind + changed_message(rng, onnx.load_from_string(content)))[:max_size]
        except (DecodeError, ValueError, TypeError, IndexError, RecursionError):
            pass  # earlier changes have broken it: change bytes
    return bytes(atheris.Mutate(data, max_size))


def main() -> None:
    """Fuzz with libFuzzer's arguments. The first is the folder of the corpus, or an input to run again."""
    small_bundle(_MODEL)
    warnings.simplefilter("error")
    corpus = Path(sys.argv[1])
    for i, name in enumerate(_NAMES if corpus.is_dir() else ()):
        (corpus / f"seed-{name}").write_bytes(bytes([i]) + (_MODEL / name).read_bytes())
    atheris.Setup(sys.argv, run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
