"""Coverage-guided fuzzing of the request decoder; ``make fuzz`` runs it. See :func:`tests.fuzz.targets.decoded`."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["anomaly_vae"]):
    from google.protobuf.message import DecodeError

    from anomaly_vae.service import convert
    from anomaly_vae.service.pb import scoring_pb2 as pb
    from tests.fuzz.mutations import changed_message
    from tests.fuzz.seeds import request_seeds
    from tests.fuzz.targets import decoded

_LARGE = convert._SMALL_MESSAGE


def run(data: bytes) -> None:
    """Decode a request as it is, and once more as if it were large."""
    for small in (_LARGE, 0):
        convert._SMALL_MESSAGE = small
        decoded(data)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the changes are to fields, where there are any."""
    rng = random.Random(seed)
    if rng.randrange(2):
        try:
            return changed_message(rng, pb.ScoreRequest.FromString(data))[:max_size]
        except DecodeError:
            pass
    return bytes(atheris.Mutate(data, max_size))


def main() -> None:
    """Fuzz, with the arguments of libFuzzer; the first is the folder of the corpus, or an input to run again."""
    warnings.simplefilter("error")
    corpus = Path(sys.argv[1])
    for i, seed in enumerate(request_seeds() if corpus.is_dir() else ()):
        (corpus / f"seed-{i}").write_bytes(seed.SerializeToString())
    atheris.Setup(sys.argv, run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
