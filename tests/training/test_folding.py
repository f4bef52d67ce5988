"""Folded networks compute what the normalised ones compute after training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anomaly_vae.training.convolutions import Residual
from anomaly_vae.training.fit import from_checkpoint, to_checkpoint
from anomaly_vae.training.folding import folded
from tests.support.pictures import PICTURE, picture_model, pictures


def normalised(bias):
    """Return layers whose running statistics are far from 0 and 1."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, 2, 1, bias=bias),
        nn.BatchNorm2d(5),
        nn.SiLU(),
        Residual(nn.Sequential(nn.Conv2d(5, 5, 3, 1, 1), nn.BatchNorm2d(5), nn.SiLU())),
        nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=bias),
        nn.BatchNorm2d(3),
        nn.Dropout(0.5),
    )
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(layer.running_var, 0.1, 3.0)
    return net.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_folding_changes_nothing_but_rounding(bias):
    net, x = normalised(bias), torch.randn(7, 2, 8, 8)
    expected = net(x)
    found = folded(net)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in found.modules())
    torch.testing.assert_close(found(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net(x), expected, rtol=0.0, atol=0.0)  # the network itself stays as it is


@pytest.mark.parametrize("layers", [[nn.BatchNorm2d(2)], [nn.SiLU(), nn.BatchNorm2d(2)]])
def test_a_normalisation_without_a_convolution_before_it_is_refused(layers):
    with pytest.raises(TypeError, match="must follow a convolution"):
        folded(nn.Sequential(*layers))


def test_a_normalisation_without_running_statistics_is_refused():
    with pytest.raises(TypeError, match="running statistics"):
        folded(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)))


def test_a_model_with_normalisation_and_dropout_is_exported_and_restored_without_them():
    """The graphs agree with torch: export compares them. A checkpoint holds the folded networks."""
    trained = picture_model(n=120, normalisation="batch", residual=True, dropout=0.2, contrast="off")
    assert trained.bundle.manifest.training.onnx_error < 1e-4
    (member,) = trained.members
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in member.vae.modules())
    schema, rows = trained.bundle.manifest.schema, pictures(120)[trained.split.train]
    again = from_checkpoint(member.config, schema, rows, rows, to_checkpoint(member))
    z = torch.randn(5, member.vae.latent_dim)
    torch.testing.assert_close(again.vae.decode(z), member.vae.decode(z), rtol=0.0, atol=0.0)
    assert schema.shape == PICTURE
