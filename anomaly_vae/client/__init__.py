"""Scores rows by a running service: numpy, DataFrame or Arrow table in, Scores out. Needs the [serve] extra."""

from anomaly_vae.client.asynchronous import AsyncClient
from anomaly_vae.client.blocking import Client
from anomaly_vae.client.credentials import Tls

__all__ = ["AsyncClient", "Client", "Tls"]
