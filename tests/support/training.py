"""A small model with random weights, heads without one, and parameters for trainings of about a second."""

from __future__ import annotations

import numpy as np
import torch
from msgspec import structs

from anomaly_vae.columns.heads import ColumnModel, GaussianHead
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.torch_heads import ColumnData
from anomaly_vae.training.torch_heads.table import TableHead
from anomaly_vae.training.vae import VAE
from tests.support.models import columns_of

QUICK = TrainConfig(random_state=0, max_steps=100, search="off", target_fpr=0.05)
QUICK_GAUSSIAN = TrainConfig(random_state=0, max_steps=100, search="off", likelihood="gaussian")


def small_vae(columns=4, latent_dim=2, seed=0):
    head = GaussianHead(variance="learned", log_var=0.0)
    models = [ColumnModel(head=head, transform=Standardise(center=0.0, scale=1.0))] * columns
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(models, (16, 16), latent_dim).double()


def gaussian_part(vae):
    """The head of all columns; they are one block here."""
    (part,) = vae.head.parts
    return part


def head_of(*names, **fields):
    """The torch head, in float64, of columns that all have one kind: example columns, with changed fields of heads."""
    models = [structs.replace(each, head=structs.replace(each.head, **fields)) for each in columns_of(*names)]
    (part,) = TableHead(models).double().parts
    return part


def column_data(values, column=None, transform=None, decoder_variance="learned"):
    """What the head of a column is made from: by default a continuous column "a" without a transform."""
    column = column or Column(name="a", kind="continuous")
    return ColumnData(column, np.asarray(values, dtype=np.float64), transform, decoder_variance)


def doubles(*values):
    """Return a tensor in float64."""
    return torch.tensor(values, dtype=torch.float64)


def inputs(vae, rows=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return x, torch.ones_like(x), torch.randn(rows, vae.latent_dim, generator=generator, dtype=torch.float64)
