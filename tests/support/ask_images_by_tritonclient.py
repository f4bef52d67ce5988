"""Scores images through tritonclient, in every form. Runs in an environment that does not have this package.

Usage: ask_images_by_tritonclient.py TARGET FOLDER, where FOLDER holds rows.npy: uint8 images (N, height, width, 1);
writes arrays.npz and facts.json there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

TYPES = {"UINT8": np.uint8, "FP32": np.float32, "FP64": np.float64}


def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    images = np.load(folder / "rows.npy")
    forms = {"shaped": images, "without channels": images[..., 0], "flat": images.reshape(len(images), -1)}
    arrays, fault = {}, None
    with triton.InferenceServerClient(target) as client:
        for datatype, kind in TYPES.items():
            for form, values in forms.items():
                x = triton.InferInput("x", values.shape, datatype)
                x.set_data_from_numpy(values.astype(kind))
                arrays[f"{datatype} {form}"] = client.infer("model", [x]).as_numpy("log_px")
        x = triton.InferInput("x", images.T.shape, "UINT8")
        x.set_data_from_numpy(images.T)
        try:
            client.infer("model", [x])
        except InferenceServerException as error:
            fault = [error.status(), error.message()]
        metadata = client.get_model_metadata("model", as_json=True)
        config = client.get_model_config("model", as_json=True)
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps({"metadata": metadata, "config": config, "fault": fault}))


if __name__ == "__main__":
    main()
