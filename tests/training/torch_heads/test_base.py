"""What all torch heads share: floors, and records with the learned values."""

from __future__ import annotations

import pytest
import torch

from anomaly_vae.columns.heads import ColumnModel, GaussianHead
from anomaly_vae.columns.layout import Layout
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.training.torch_heads.base import STD_FLOOR, TorchHead, cell_width, std_floor
from tests.support.models import BEND
from tests.support.training import column_data

LINE = Standardise(center=3.0, scale=4.0)
HEADS = (
    GaussianHead(variance="learned", log_var=0.5, step=2.0),
    GaussianHead(variance="learned", log_var=-1.0),
)


def block():
    (found,) = Layout([ColumnModel(head=head, transform=LINE) for head in HEADS]).blocks
    return found


class Toy(TorchHead):
    """A head with one learned number per column."""

    def learned(self):
        return {"log_var": torch.tensor([1.5, 2.5], requires_grad=True)}


def test_a_step_of_a_grid_is_one_width_everywhere_only_after_a_linear_transform():
    assert cell_width(2.0, LINE) == 0.5
    assert cell_width(2.0, BEND) is None
    assert cell_width(2.0, None) is None
    assert cell_width(None, LINE) is None


@pytest.mark.parametrize(("step", "floor"), [(None, STD_FLOOR), (2.0, 0.25), (0.1, STD_FLOOR)])
def test_the_floor_is_half_a_step_and_never_below_the_floor_of_all_columns(step, floor):
    """At half a step the probabilities of the grid points still add up to 1 (tests/columns/test_heads.py)."""
    assert std_floor(step, LINE) == floor
    assert column_data([1.0], Column(name="a", kind="integer", step=step), LINE).floor == floor


def test_records_get_the_learned_values_and_keep_the_others():
    one, two = Toy(block(), [0.05, 0.05]).heads()
    assert one == GaussianHead(variance="learned", log_var=1.5, step=2.0)
    assert two == GaussianHead(variance="learned", log_var=2.5)
    assert TorchHead(block(), [0.05, 0.05]).heads() == list(HEADS)


def test_by_default_nothing_is_learned_and_every_part_that_z_does_not_change_is_0():
    head, x = TorchHead(block(), [0.05, 0.25]), torch.ones(3, 2, dtype=torch.float64)
    assert head.learned() == {}
    assert torch.equal(head.base(x), torch.zeros_like(x))
    assert torch.equal(head.start(x.mean(0)), torch.zeros(2, dtype=torch.float64))
    assert head.floor.tolist() == pytest.approx([0.05, 0.25])


def test_a_head_must_have_a_density_a_graph_and_a_first_record():
    head = TorchHead(block(), [0.05, 0.05])
    for method, arguments in ((head.forward, 3), (head.onnx_log_prob, 4), (TorchHead.initial, 1)):
        with pytest.raises(NotImplementedError):
            method(*[None] * arguments)
