"""The stretch outside the training range: its slope, its inverse, and the density that it gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from msgspec import structs
from scipy import stats
from scipy.integrate import quad

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import ColumnModel, GaussianHead, LogisticHead, StudentTHead
from anomaly_vae.columns.likelihood import TableLikelihood
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.tails import Stretch, Tail, Tails
from anomaly_vae.columns.transforms import Standardise
from tests.support.models import BEND

# With and without a jump, exponential and polynomial.
BOUND = Tail(end=0.0, margin=0.01, jump=2.0, size=2.0, length=0.2, power=1000.0)
LONG = Tail(end=10.0, margin=0.0, jump=0.0, size=1.5, length=1.5, power=2.0)
LINEAR = Tail(end=10.0, margin=0.0, jump=0.5, size=1.5, length=1.5, power=1.0)
TAILS = Tails(low=BOUND, high=LONG)

LINE = Standardise(center=4.0, scale=2.5)
T_HEAD = StudentTHead(log_scale=-0.7, freedom=4.0)


def features_with(model: ColumnModel, column: Column | None = None) -> Features:
    return Features(Schema(columns=(column or Column(name="a", kind="continuous"),)), [model])


def log_density(model: ColumnModel, values: np.ndarray, loc: float, column: Column | None = None) -> np.ndarray:
    """Return log p(x|z), in data units, of a head whose parameter is loc."""
    features = features_with(model, column)
    inputs = features.encode(np.asarray(values, dtype=np.float64)[:, None])
    return TableLikelihood(features.layout).log_prob(inputs.x, inputs.mask, np.array([loc])) + inputs.base


@pytest.mark.parametrize("high", [LONG, LINEAR])
def test_the_slope_is_the_derivative(high):
    stretch = Stretch([Tails(low=BOUND, high=high)])
    for sign, end in ((-1.0, -0.01), (1.0, 10.0)):
        away = np.geomspace(1e-3, 100.0, 60)
        step = 1e-6 * away
        ahead, back = (stretch.forward(end + sign * (away + d), np.zeros(60, int))[0] for d in (step, -step))
        slope = np.exp(stretch.forward(end + sign * away, np.zeros(60, int))[1])
        np.testing.assert_allclose(sign * (ahead - back) / (2.0 * step), slope, rtol=1e-5)


def test_the_stretch_increases_and_has_an_inverse():
    stretch = Stretch([None, TAILS])
    values = np.concatenate([-np.geomspace(1e6, 0.0101, 200), 10.0 + np.geomspace(1e-4, 1e6, 200)])
    stretched, _ = stretch.forward(values, np.ones(400, int))
    assert (np.diff(stretched) > 0.0).all()
    np.testing.assert_allclose(stretch.inverse(stretched, 1), values, rtol=1e-9)


def test_a_value_drawn_in_the_jump_becomes_the_end_of_the_range():
    """Half a step inside where the stretch starts, so that rounding to a grid finds the end."""
    np.testing.assert_array_equal(Stretch([TAILS]).inverse(np.array([-0.001, -1.9]), 0), [0.0, 0.0])


HEADS = [
    (T_HEAD, stats.t(4.0, scale=np.exp(-0.7))),
    (GaussianHead(variance="fixed", log_var=-0.5), stats.norm(scale=np.exp(-0.25))),
]


@pytest.mark.parametrize("transform", [LINE, BEND])
@pytest.mark.parametrize(("head", "law"), HEADS)
@pytest.mark.parametrize("loc", [-1.5, 0.4, 2.2])
def test_the_density_integrates_to_one_without_the_probability_in_the_jump(transform, head, law, loc):
    """Wherever the head is: the mass between both ends of the jump is known from its distribution function."""
    model = ColumnModel(head=head, transform=transform, tails=TAILS)
    start = TAILS.ends[:1]
    end = float(transform.forward(start)[0])
    jump = BOUND.jump * float(np.exp(transform.log_slope(start))[0])
    left_out = law.cdf(end - loc) - law.cdf(end - jump - loc)

    def density(x: float) -> float:
        return float(np.exp(log_density(model, [x], loc))[0])

    pieces = [*-np.geomspace(1e5, 0.02, 12), -0.01, *np.linspace(0.5, 10.0, 9), *(10.0 + np.geomspace(0.5, 1e5, 12))]
    total = sum(quad(density, a, b, limit=200)[0] for a, b in itertools.pairwise(pieces))
    assert total == pytest.approx(1.0 - left_out, abs=2e-4)


def test_inside_the_range_every_bit_is_as_without_tails():
    """Also for rows beside others that are outside, and at the ends."""
    columns = [ColumnModel(head=T_HEAD, transform=LINE), ColumnModel(head=T_HEAD, transform=BEND)]
    schema = Schema(columns=tuple(Column(name=name, kind="continuous") for name in "ab"))
    rows = np.random.default_rng(0).uniform(0.0, 10.0, (50, 2))
    rows[:3] = [[0.0, 10.0], [10.0, np.nan], [-0.009, 0.0]]
    plain = Features(schema, columns).encode(rows)
    with_tails = Features(schema, [structs.replace(column, tails=TAILS) for column in columns])
    beside = with_tails.encode(np.concatenate([rows, [[-5.0, 1e300]]]))
    for expected, alone, together in zip(plain, with_tails.encode(rows), beside, strict=True):
        np.testing.assert_array_equal(alone, expected)
        np.testing.assert_array_equal(together[:50], expected)


@pytest.mark.parametrize("transform", [LINE, BEND])
def test_decoding_inverts_encoding_outside_the_range(transform):
    features = features_with(ColumnModel(head=T_HEAD, transform=transform, tails=TAILS))
    values = np.array([-30.0, -0.5, -0.02, 3.0, 10.5, 40.0, 1e4])
    np.testing.assert_allclose(features.decode(features.encode(values[:, None]).x)[:, 0], values, rtol=1e-9)


def test_huge_values_have_a_finite_density_that_falls():
    for head in (T_HEAD, GaussianHead(variance="fixed", log_var=-0.5)):
        model = ColumnModel(head=head, transform=LINE, tails=TAILS)
        for sign in (-1.0, 1.0):
            found = log_density(model, sign * np.array([20.0, 1e3, 1e6, 1e300, 1.7e308]), 0.0)
            assert np.isfinite(found).all()
            assert (np.diff(found[:3]) < 0.0).all()


def test_grid_points_outside_add_up_to_at_most_what_the_head_puts_there():
    """One half of the head's probability is behind the bound: the jump leaves nearly all of it out."""
    column = Column(name="a", kind="integer", step=1.0)
    bound = Tail(end=0.0, margin=0.5, jump=8.0, size=8.0, length=2.0, power=1000.0)
    tails = Tails(low=bound, high=structs.replace(bound, end=100.0, jump=0.0, size=2.0))
    line = Standardise(center=0.0, scale=2.0)
    loc = -0.25  # -0.5 in data units, where the stretch starts
    for head in (StudentTHead(log_scale=-0.7, freedom=4.0, step=1.0), LogisticHead(log_scale=-0.7, step=1.0, cell=0.5)):
        model = ColumnModel(head=head, transform=line, tails=tails)
        inside, outside = (
            np.exp(log_density(model, x, loc, column)).sum() for x in (np.arange(0.0, 101.0), np.arange(-200.0, 0.0))
        )
        assert inside == pytest.approx(0.5, abs=0.01)
        assert 0.0 < outside < 0.01
