"""Explanations of every kind of cell."""

from __future__ import annotations

import numpy as np

from anomaly_vae.explained import Why

__all__ = ["WHYS"]

WHYS = [
    Why(
        column="species",
        value="Chinstrep",
        nats=12.5,
        std_error=0.1,
        excess=11.0,
        levels=(("Adelie", 0.75), ("Gentoo", 0.2)),
        p_value_without=0.5,
        together=("island", "year"),
        is_novel=True,
    ),
    Why(
        column="species",
        value=None,
        nats=1e300,
        std_error=float(np.nextafter(0.1, 1.0)),
        excess=-1.0,
        levels=(("a", 1.0),),
    ),
    Why(
        column="flow[-7..0]",
        value=-0.0,
        nats=-3.0,
        std_error=0.25,
        excess=2.0,
        low=-1.0,
        middle=0.0,
        high=1.0,
        cell="flow[-3]",
    ),
    Why(
        column="unit",
        value=8.0,
        nats=31.4,
        std_error=0.0,
        excess=31.4,
        low=7.0,
        middle=7.0,
        high=7.0,
        p_value_without=1.0,
    ),
]
