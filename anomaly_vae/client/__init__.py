"""Clients that score rows through a running service: arrays, DataFrames or Arrow tables in, Scores out.

They need the [serve] extra.
"""

from anomaly_vae.client.asynchronous import AsyncClient
from anomaly_vae.client.blocking import Client
from anomaly_vae.client.credentials import Tls

__all__ = ["AsyncClient", "Client", "Tls"]
