"""Pictures of scores: series, images, latent spaces and histograms, for people with any colour vision.

The functions ``plot_...`` take the path of a PNG, SVG or PDF file, which they replace, or None, and then return the
figure of matplotlib. The others are for notebooks: they draw on the axes ``ax``, or on new ones, and return them. No
function uses ``pyplot``, so they work in threads, in servers and in notebooks.
"""

from __future__ import annotations

from anomaly_vae.plot.histograms import plot_scores
from anomaly_vae.plot.latent import plot_latent
from anomaly_vae.plot.notebook import distribution, latent_map, p_values, waterfall
from anomaly_vae.plot.pictures import plot_images
from anomaly_vae.plot.series import plot_series

__all__ = [
    "distribution",
    "latent_map",
    "p_values",
    "plot_images",
    "plot_latent",
    "plot_scores",
    "plot_series",
    "waterfall",
]
