"""The products and convolutions of a decoder alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tests.benchmarks.floor import ConvolutionFloor
from tests.benchmarks.speed_convolutions import WORKLOADS, Bench


@pytest.mark.parametrize("workload", [WORKLOADS[0], WORKLOADS[3]], ids=lambda each: each.name)
def test_the_floor_is_the_decoder_without_activations_and_biases(workload):
    """So it has all of its multiplications; the size of a call is that of the product."""
    torch.set_num_threads(1)
    decoder = Bench(workload._replace(pairs=1024)).vae.decoder
    floor = ConvolutionFloor(decoder, 32)
    bare = copy.deepcopy(decoder)
    for layer in bare:
        if getattr(layer, "bias", None) is not None:
            torch.nn.init.zeros_(layer.bias)
    layers = [layer for layer in bare if not isinstance(layer, torch.nn.SiLU)]
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers)(torch.from_numpy(floor._z)).numpy()
    (found,) = floor._session.run(None, {"z": floor._z})
    np.testing.assert_allclose(found.reshape(32, -1), expected, rtol=1e-4, atol=1e-5)
