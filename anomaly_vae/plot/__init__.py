"""Pictures of scores: series, images, latent spaces and histograms, for people with any colour vision.

Every function takes the path of a PNG, SVG or PDF file, which it replaces, or None, and then returns the figure of
matplotlib. No function uses ``pyplot``, so they work in threads, in servers and in notebooks.
"""

from __future__ import annotations

from anomaly_vae.plot.histograms import plot_scores
from anomaly_vae.plot.latent import plot_latent
from anomaly_vae.plot.pictures import plot_images
from anomaly_vae.plot.series import plot_series

__all__ = ["plot_images", "plot_latent", "plot_scores", "plot_series"]
