"""Scores images through KServe's client, in every form. Runs in an environment that does not have this package.

Usage: ask_images_by_kserve.py TARGET FOLDER, where FOLDER holds rows.npy: uint8 images (N, height, width, 1); writes
arrays.npz and facts.json there.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

TYPES = {"UINT8": np.uint8, "FP32": np.float32, "FP64": np.float64}


async def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    images, arrays = np.load(folder / "rows.npy"), {}
    forms = {"shaped": images, "without channels": images[..., 0], "flat": images.reshape(len(images), -1)}
    async with InferenceGRPCClient(target) as client:
        for datatype, kind in TYPES.items():
            for form, values in forms.items():
                for binary in (True, False):
                    x = InferInput("x", list(values.shape), datatype)
                    x.set_data_from_numpy(values.astype(kind), binary_data=binary)
                    reply = await client.infer(InferRequest("model", [x]))
                    found = {output.name: output.as_numpy() for output in reply.outputs}
                    arrays[f"{datatype} {form} {'raw' if binary else 'typed'}"] = found["log_px"]
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps({}))


if __name__ == "__main__":
    asyncio.run(main())
