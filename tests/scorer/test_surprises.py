"""Surprises and expectations against closed forms, quadrature and the chain rule."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.regions import Region
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.scorer.known import known_of
from anomaly_vae.scorer.surprises import Surprises
from tests.support.exact_models import Lines, estimator_of, factor_analysis, nonlinear
from tests.support.judges import judge_of
from tests.support.models import ALL, COLUMNS, features_of, rows_of, vae_of
from tests.support.models import estimator_of as estimator_of_heads


def all_pairs(rows):
    """Every region of every row."""
    num_rows, num_columns = rows.shape
    return np.repeat(np.arange(num_rows), num_columns), np.tile(np.arange(num_columns), num_rows)


def looked_at(judge, rows):
    i, g = all_pairs(rows)
    found = Surprises(judge).close(rows, known_of(judge, rows), i, g, rows.shape[1])
    assert [(n, each.region) for n, each in found] == list(zip(i.tolist(), g.tolist(), strict=True))
    return [each for _, each in found]


@pytest.fixture(scope="module")
def linear():
    fitted, vae, transform, rows = factor_analysis()
    judge = judge_of(estimator_of(vae, points=64))
    return fitted, transform, rows, judge, looked_at(judge, rows)


def closed_form(fitted, y, d):
    """Mean and standard deviation of one column of a Gaussian given the others, in model units."""
    covariance, others = fitted.get_covariance(), [k for k in range(len(y)) if k != d]
    gain = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, d])
    return fitted.mean_[d] + (y[others] - fitted.mean_[others]) @ gain, np.sqrt(
        covariance[d, d] - covariance[d, others] @ gain
    )


def test_the_surprise_is_the_closed_form_of_a_gaussian_within_0_02_nats(linear):
    fitted, transform, rows, judge, found = linear
    y, known = transform.forward(rows), known_of(judge, rows)
    for each, n, d in zip(found, *all_pairs(rows), strict=True):
        mean, std = closed_form(fitted, y[n], d)
        exact = -norm.logpdf(y[n, d], mean, std) + np.log(transform.scale[d])
        assert each.nats == pytest.approx(exact, abs=0.02)
        assert abs(each.nats - exact) < 5.0 * each.std_error + 1e-4
        assert each.usual == pytest.approx(
            0.5 * np.log(2.0 * np.pi * np.e) + np.log(std * transform.scale[d]), abs=0.03
        )
        assert each.excess == each.nats - each.usual
        errors = each.rest.std_error[0], known.std_error[n]
        assert each.std_error == pytest.approx(np.hypot(*errors))


def test_the_expected_range_is_the_closed_form_of_a_gaussian(linear):
    fitted, transform, rows, _, found = linear
    y = transform.forward(rows)
    errors = []
    for each, n, d in zip(found, *all_pairs(rows), strict=True):
        mean, std = closed_form(fitted, y[n], d)
        exact = transform.center[d] + transform.scale[d] * norm.ppf([0.05, 0.5, 0.95], mean, std)
        errors.append((np.array(each.expected[:3]) - exact) / (transform.scale[d] * std))
    assert np.abs(errors).max() < 0.05
    assert np.std(errors) < 0.02


def test_log_p_is_the_sum_of_sequential_conditionals(linear):
    """log p(x) = log p(x_1) + log p(x_2 | x_1) + ..., each by a row whose later cells are missing."""
    _, _, rows, judge, _ = linear
    rows, looks = rows[:8], Surprises(judge)
    total, variance = np.zeros(len(rows)), np.zeros(len(rows))
    for d in range(rows.shape[1]):
        first = np.where(np.arange(rows.shape[1]) <= d, rows, np.nan)
        numbers = np.arange(len(rows))
        found = looks.close(first, known_of(judge, first), numbers, np.full(len(rows), d), 1)
        total -= [each.nats for _, each in found]
        variance += [each.std_error**2 for _, each in found]
    whole = known_of(judge, rows)
    assert np.all(np.abs(total - whole.log_px) <= 4.0 * np.sqrt(variance + whole.std_error**2) + 1e-3)
    assert np.abs(total - whole.log_px).max() < 0.1


def test_surprise_and_range_are_those_of_quadrature():
    """Three columns and one nonlinear latent dimension."""
    transform = Lines([1.0, -2.0, 30.0], [1.0, 0.5, 10.0])
    vae = nonlinear(transform, seed=0)
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(0.6)  # bent, but p(z|x) has one mode: quick fits may miss small ones
    estimator = estimator_of(vae, points=64)
    y = np.random.default_rng(3).normal(size=(6, 3)) * 1.5
    rows = transform.inverse(y)
    z = np.linspace(-7.0, 7.0, 1001)
    decoded = estimator.members[0].network.decode(z[:, None].astype(np.float32)).astype(float)
    std = np.exp(0.5 * np.array([head.log_var for head in (model.head for model in vae.head.column_models())]))
    log_prior = norm.logpdf(z)
    for each, n, d in zip(looked_at(judge_of(estimator), rows), *all_pairs(rows), strict=True):
        terms = norm.logpdf(y[n], decoded, std)
        others = [k for k in range(3) if k != d]
        rest = terms[:, others].sum(axis=1) + log_prior
        exact = logsumexp(rest) - logsumexp(rest + terms[:, d]) + np.log(transform.scale[d])
        assert abs(each.nats - exact) < 4.0 * each.std_error + 0.02
        values = np.linspace(-8.0, 8.0, 801)
        weights = np.exp(rest - rest.max())
        total = np.array([(weights * norm.cdf(value, decoded[:, d], std[d])).sum() for value in values]) / weights.sum()
        exact_range = transform.center[d] + transform.scale[d] * np.interp([0.05, 0.5, 0.95], total, values)
        width = exact_range[2] - exact_range[0]
        np.testing.assert_allclose(each.expected[:3], exact_range, atol=0.1 * width)


@pytest.fixture(scope="module")
def mixed():
    """A random model with every kind of head."""
    vae = vae_of(*ALL, wild=1.5)
    return judge_of(estimator_of_heads(vae, features_of(*ALL, vae=vae)))


def test_every_kind_of_column_has_an_expectation(mixed):
    rows = rows_of(3, *ALL)
    for each, d in zip(looked_at(mixed, rows), all_pairs(rows)[1], strict=True):
        column = mixed.bundle.manifest.schema.columns[d]
        assert np.isfinite([each.nats, each.std_error, each.usual]).all()
        if each.expected.levels is not None:
            assert column.kind in ("binary", "categorical")
            shares = [share for _, share in each.expected.levels]
            assert shares == sorted(shares, reverse=True)
            assert 0.9 < sum(shares) < 1.001
        elif column.period is None:
            assert each.expected.low <= each.expected.middle <= each.expected.high
        else:
            assert all(0.0 <= value < column.period for value in each.expected[:3])


def test_a_probability_and_its_surprise_agree(mixed):
    """The surprise of a level is minus the logarithm of its stated probability."""
    rows = rows_of(4, *ALL)
    columns = mixed.bundle.manifest.schema.columns
    checked = 0
    for each, n, d in zip(looked_at(mixed, rows), *all_pairs(rows), strict=True):
        names = columns[d].categories or ("0", "1")
        share = dict(each.expected.levels or ()).get(names[min(int(rows[n, d]), len(names) - 1)])
        if share is not None:
            assert each.nats == pytest.approx(-np.log(share), abs=0.05 + 4.0 * each.std_error)
            checked += 1
    assert checked >= 6


def test_a_rare_text_in_a_column_without_a_density_is_surprising():
    """Its only frequent text has no head, but the rare one costs what its share says, so it is to blame."""
    rare = Column(name="closed", kind="categorical", categories=("no", "yes"), rare=(1,), other_share=0.001)
    vae = vae_of("gaussian")
    features = Features(Schema(columns=(COLUMNS["gaussian"][0], rare)), vae.head.column_models())
    judge = judge_of(estimator_of_heads(vae, features))
    rows = np.column_stack([rows_of(2, "gaussian"), [0.0, 1.0]])
    looks, known = Surprises(judge), known_of(judge, rows)
    assert looks.present(rows).tolist() == [[True, False], [True, True]]
    ((_, found),) = looks.close(rows, known, np.array([1]), np.array([1]), 1)
    assert found.excess == pytest.approx(-np.log(0.001), abs=0.1)
    assert found.expected.levels == (("no", 0.999),)


@pytest.mark.parametrize(("value", "blamed"), [(0.0, "size"), (9.0, "edge")])
def test_a_changed_constant_among_other_cells_of_a_region_is_blamed(value, blamed, monkeypatch):
    """As a pixel at the edge of an image, which was black in training."""
    edge = Column(name="edge", kind="constant", value=0.0, other_share=1e-9, novelty="density")
    vae = vae_of("gaussian")
    schema = Schema(columns=(msgspec.structs.replace(COLUMNS["gaussian"][0], name="size"), edge))
    judge = judge_of(estimator_of_heads(vae, Features(schema, vae.head.column_models())))
    monkeypatch.setattr("anomaly_vae.scorer.surprises.regions_of", lambda _: (Region("both", (0, 1)),))
    rows = np.column_stack([rows_of(1, "gaussian"), [value]])
    ((_, found),) = Surprises(judge).close(rows, known_of(judge, rows), np.array([0]), np.array([0]), 1)
    assert schema.columns[found.cell].name == blamed
    assert (found.expected.middle == 0.0) == (blamed == "edge")


def test_a_quick_look_is_the_same_in_many_parts(linear, monkeypatch):
    _, _, rows, judge, _ = linear
    looks, known = Surprises(judge), known_of(judge, rows)
    whole = looks.quick(rows, known.log_px, looks.present(rows))
    monkeypatch.setattr("anomaly_vae.scorer.surprises._CELLS_AT_ONCE", 42)
    np.testing.assert_array_equal(looks.quick(rows, known.log_px, looks.present(rows)), whole)


def test_a_quick_look_is_near_the_close_one(linear):
    _, _, rows, judge, found = linear
    known = known_of(judge, rows)
    looks = Surprises(judge)
    quick = looks.quick(rows, known.log_px, looks.present(rows))
    np.testing.assert_allclose(quick.ravel(), [each.nats for each in found], atol=0.3)


def test_missing_cells_are_not_looked_at_and_standardised_units_count(linear):
    _, _, rows, judge, _ = linear
    rows = rows[:3].copy()
    rows[:, 2] = np.nan
    units = np.arange(6.0)
    looks = Surprises(judge_of(judge.estimator, parts=units))
    present = looks.present(rows)
    np.testing.assert_array_equal(present, np.tile(np.arange(6) != 2, (3, 1)))
    known = known_of(judge, rows)
    with_units = looks.quick(rows, known.log_px, present)
    plain = Surprises(judge).quick(rows, known.log_px, present)
    assert np.all(np.isneginf(with_units[:, 2]))
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(with_units[:, kept] - plain[:, kept], np.tile(units[kept], (3, 1)), atol=1e-9)


def test_only_the_largest_surprises_of_each_row_are_returned(linear):
    _, _, rows, judge, found = linear
    i, g = all_pairs(rows[:5])
    few = Surprises(judge).close(rows[:5], known_of(judge, rows[:5]), i, g, 2)
    assert [n for n, _ in few] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    by_row = (
        itertools.batched(found[:30], 6) if hasattr(itertools, "batched") else zip(*[iter(found[:30])] * 6, strict=True)
    )
    for row, kept in zip(by_row, zip(*[iter(few)] * 2, strict=True), strict=True):
        best = sorted(row, key=lambda each: -each.nats)[:2]
        assert {each.region for _, each in kept} == {each.region for each in best}
