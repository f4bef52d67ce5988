"""Coverage-guided fuzzing of the request decoders; ``make fuzz`` runs it. See :func:`tests.fuzz.targets.decoded`."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["anomaly_vae"]):
    from google.protobuf.message import DecodeError

    from anomaly_vae.service.pb import inference_pb2 as pb2
    from anomaly_vae.service.pb import scoring_pb2 as pb
    from anomaly_vae.service.rpc.tensors import SMALL_MESSAGE
    from tests.fuzz.mutations import changed_message
    from tests.fuzz.seeds import infer_seeds, request_seeds
    from tests.fuzz.targets import decoded, inferred, set_small_message

_KINDS = ((pb.ScoreRequest, decoded), (pb2.ModelInferRequest, inferred))


def run(data: bytes) -> None:
    """Decode a request as a small message and as a large one. The first byte of the data says which service's."""
    if data:
        _, decode = _KINDS[data[0] % len(_KINDS)]
        for size in (SMALL_MESSAGE, 0):
            set_small_message(size)
            decode(data[1:])


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change fields of the message half of the time, and bytes otherwise."""
    rng = random.Random(seed)
    if data and rng.randrange(2):
        message, _ = _KINDS[data[0] % len(_KINDS)]
        try:
            return (data[:1] + changed_message(rng, message.FromString(data[1:])))[:max_size]
        except DecodeError:
            pass
    return bytes(atheris.Mutate(data, max_size))


def main() -> None:
    """Fuzz with libFuzzer's arguments. The first is the folder of the corpus, or an input to run again."""
    warnings.simplefilter("error")
    corpus = Path(sys.argv[1])
    for kind, seeds in enumerate((request_seeds(), infer_seeds()) if corpus.is_dir() else ()):
        for i, seed in enumerate(seeds):
            (corpus / f"seed-{kind}-{i}").write_bytes(bytes([kind]) + seed.SerializeToString())
    atheris.Setup(sys.argv, run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
