"""What all heads share: units, defaults, and limits of the numbers in manifest.json."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from anomaly_vae.columns.heads import HEADS, ColumnModel
from anomaly_vae.columns.heads.base import HeadRecord, NumberHead
from tests.support.models import BEND, COLUMNS, LINE


class Plain(HeadRecord, tag="plain"):
    """A head that sets nothing."""


class Number(NumberHead, tag="number"):
    """A head of numbers that sets nothing, with or without a grid."""

    step: float | None = None

    @property
    def grid_step(self) -> float | None:
        return self.step


def test_a_head_without_settings_is_one_plain_feature():
    head = Plain()
    assert (head.kind(), head.summary) == ("plain", "plain")
    assert (head.num_categories, head.num_features, head.params_per_feature) == (None, 1, 1)
    assert (head.grid_step, head.learned_std, head.input_scaling) == (None, None, (0.0, 1.0))
    assert (head.log_jacobian(None), head.unit_log_density(None)) == (0.0, None)
    np.testing.assert_array_equal(head.base(np.array([3.0, 4.0])), [0.0, 0.0])
    with pytest.raises(NotImplementedError):
        Plain.likelihood([head])


def test_the_jacobian_turns_a_density_into_data_units_or_into_the_probability_of_a_grid_point():
    r"""With y = (x - c) / s: log p(x) = log p(y) - log s, and the probability of a point is step times p(x)."""
    assert Number().log_jacobian(LINE) == pytest.approx(-math.log(0.25))
    assert Number(step=0.1).log_jacobian(LINE) == pytest.approx(math.log(0.1 / 0.25))
    assert Number().log_jacobian(BEND) == 0.0, "a non-linear transform adds its own slope"
    for head in (Number(), Number(step=0.1)):
        assert head.unit_log_density(LINE) == head.log_jacobian(LINE)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("gaussian", "log_var", 101.0),
        ("gaussian", "variance", "free"),
        ("gaussian", "step", 0.0),
        ("conditional", "floor", 0.0),
        ("student_t", "log_scale", -101.0),
        ("student_t", "freedom", 1.0),
        ("logistic", "cell", -1.0),
        ("logistic", "step", 0.0),
        ("count", "log_dispersion", 101.0),
        ("count", "scale", 0.0),
        ("categorical", "size", 1),
        ("categorical", "size", 4097),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_name(kind, field, value):
    """manifest.json is not trusted: exp(log_var) must be finite, and a scale must not be zero."""
    record = msgspec.to_builtins(COLUMNS[kind][1])
    record["head"][field] = value
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.head\.{field}"):
        msgspec.convert(record, ColumnModel)


def test_an_unknown_kind_of_head_is_refused():
    with pytest.raises(msgspec.ValidationError, match="'poisson'"):
        msgspec.convert({"head": {"kind": "poisson"}}, ColumnModel)
    assert "poisson" not in HEADS
