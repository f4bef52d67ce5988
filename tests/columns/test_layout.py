"""The place of each column in the networks' input and in the decoder's output."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.heads import HEADS
from anomaly_vae.columns.layout import Layout
from tests.support.models import ALL, COLUMNS, columns_of


@pytest.mark.parametrize("seed", range(5))
def test_blocks_divide_columns_features_and_parameters_without_gaps(seed):
    """In any order of the columns: every one is in the block of its head, and the slices follow each other."""
    names = np.random.default_rng(seed).choice(ALL, size=12)
    columns = columns_of(*names)
    layout = Layout(columns)
    assert [block.kind for block in layout.blocks] == [
        kind for kind in HEADS if kind in {column.head.kind() for column in columns}
    ]
    np.testing.assert_array_equal(np.sort(layout.order), np.arange(12))
    feature = param = 0
    for block in layout.blocks:
        assert [columns[d].head for d in block.columns] == list(block.heads)
        assert {head.kind() for head in block.heads} == {block.kind}
        assert (block.features.start, block.params.start) == (feature, param)
        assert block.num_features == sum(block.sizes)
        assert block.num_params == block.num_features * HEADS[block.kind].params_per_feature
        feature, param = block.features.stop, block.params.stop
    assert (layout.num_features, layout.num_params) == (feature, param)


def test_a_table_of_three_kinds_has_the_layout_of_the_registry():
    """gaussian before conditional before categorical, which has one feature for each of its 3 categories."""
    layout = Layout(columns_of("categorical", "conditional", "gaussian", "categorical"))
    assert [block.kind for block in layout.blocks] == ["gaussian", "conditional", "categorical"]
    np.testing.assert_array_equal(layout.order, [2, 1, 0, 3])
    np.testing.assert_array_equal(layout.column_of_feature, [0, 1, 2, 2, 2, 3, 3, 3])
    assert (layout.num_features, layout.num_params) == (8, 1 + 2 + 6)
    np.testing.assert_array_equal(layout.blocks[2].starts, [0, 3])
    assert layout.blocks[1].params == slice(1, 3)


def test_columns_with_one_kind_of_head_keep_their_order():
    """The graphs of existing bundles have this order."""
    names = ("bent", "gaussian", "grid", "gaussian")
    (block,) = Layout(columns_of(*names)).blocks
    np.testing.assert_array_equal(block.columns, [0, 1, 2, 3])
    assert block.heads == tuple(COLUMNS[name][1].head for name in names)


def test_the_parameters_of_some_columns_are_those_of_a_layout_of_these_alone():
    from tests.support.models import ALL, columns_of

    columns = columns_of(*ALL)
    layout = Layout(columns)
    taken = [layout.params_of(np.array([d])) for d in range(len(columns))]
    assert sorted(np.concatenate(taken).tolist()) == list(range(layout.num_params))
    for d, places in enumerate(taken):
        assert len(places) == Layout([columns[d]]).num_params
    some = np.array([0, 3, 7])
    np.testing.assert_array_equal(np.sort(layout.params_of(some)), np.sort(np.concatenate([taken[d] for d in some])))
