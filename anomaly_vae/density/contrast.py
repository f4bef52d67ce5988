r"""The contrast of images: log-odds that an image is one of the training rather than a corrupted one.

log p(x) is mostly about how bright and how smooth an image is, so other images can be as likely as those of the
training. A classifier that was trained to tell these from corrupted images and from samples of the model estimates

.. math:: c(x) = \log p(x) - \log q(x)

with q the mixture of the corruptions and the samples, in nats. What p and q share cancels.

References:
    Noise-Contrastive Estimation (Gutmann & Hyvärinen, 2010), https://proceedings.mlr.press/v9/gutmann10a.html
    Likelihood Ratios for Out-of-Distribution Detection (Ren et al., 2019), https://arxiv.org/abs/1906.02845
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Features
from anomaly_vae.density import tiles
from anomaly_vae.density.network import ContrastNetwork

__all__ = ["Contrast"]

# Rows that are converted at a time. Chosen, not measured: it bounds the memory of their float64 features.
_BLOCK_ROWS = 1024


class Contrast(NamedTuple):
    """The classifier of a model.

    Attributes:
        network: From the inputs of the encoder to log-odds.
        features: Turns rows into these inputs: those of the first member.
    """

    network: ContrastNetwork
    features: Features

    def of_rows(self, rows: FloatArray) -> FloatArray:
        """Return the contrast of rows (N, D) in data units, nats, (N,); a row's bits depend on the row alone."""
        found = [np.empty(0)]
        for start in range(0, len(rows), _BLOCK_ROWS):
            inputs = self.features.encode(rows[start : start + _BLOCK_ROWS])
            x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
            found.append(tiles.contrast(self.network, x, mask)[:, 0].astype(np.float64))
        return np.nan_to_num(np.concatenate(found), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
