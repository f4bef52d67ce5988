"""The arrays of a bundle: which ones are refused, and how large they may be."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.file_arrays import most_golden_bytes
from anomaly_vae.bundle.npy import npy_bytes
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import load
from tests.support.attacks import seal


def test_arrays_that_do_not_fit_are_refused(copy, bundle):
    golden = np.column_stack([bundle.golden_rows, bundle.golden_log_px])
    assert npy_bytes(golden) == bundle.files["golden.npy"]
    cases = {
        "noise.npy": [
            (npy_bytes(bundle.noise.astype(np.float64)), "<f8 array of shape .*expected <f4 with 3"),
            (npy_bytes(bundle.noise[:8]), "has shape"),
            (npy_bytes(bundle.noise[:, :100]), "power of two"),
            (b"not an array", "not a .npy"),
        ],
        "calibration.npy": [
            (npy_bytes(bundle.calibration[::-1].copy()), "not sorted"),
            (npy_bytes(bundle.calibration[:-1]), "the manifest says"),
            (npy_bytes(np.full_like(bundle.calibration, np.nan)), "NaN"),
        ],
        "golden.npy": [
            (npy_bytes(golden[:, :-1]), r"has shape \(\d+, 5\), expected \(n, 6\) with n up to 256"),
            (npy_bytes(golden[:0]), "needs another size"),
            (npy_bytes(np.resize(golden, (257, 6))), r"has shape \(257, 6\)"),
            (npy_bytes(golden[:, 0].copy()), "expected <f8 with 2"),
            (npy_bytes(golden.astype(np.float32)), "expected <f8 with 2"),
            (npy_bytes(golden)[:-8], "needs another size"),
            (npy_bytes(np.where(np.arange(6) == 5, np.nan, golden)), "NaN or an infinity"),
            (npy_bytes(golden + np.where(np.arange(6) == 5, 1.0, 0.0)), r"log p\(x\) of its rows differs"),
        ],
    }
    for name, damages in cases.items():
        for data, message in damages:
            seal(name, data)(copy)
            with pytest.raises(BundleError, match=message):
                load(copy)
        seal(name, bundle.files[name])(copy)
    load(copy)


def test_the_manifest_bounds_the_bytes_of_the_golden_rows(bundle):
    """So that a file of another size is refused before it is read."""
    most = most_golden_bytes(bundle.manifest)
    assert most == 256 * 8 * 6 + 4096
    assert len(npy_bytes(np.zeros((256, 6)))) <= most < len(npy_bytes(np.zeros((512, 6))))
