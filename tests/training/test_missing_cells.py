"""The adjustment for missing cells, fitted with a model whose log p(x) is known in closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import CategoricalHead, ColumnModel, GaussianHead
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.density.precision import Precision
from anomaly_vae.training.missing_cells import fit_adjustment

SCALES = (1.0, 10.0, 0.1, 5.0)
PRECISION = Precision(target_error=0.1, num_samples=1024)


class IndependentNormals:
    """log p(x) is the sum over the present cells of the log-density of N(0, scale^2).

    Attributes:
        calls: The precision and the number of rows of each estimate.
    """

    def __init__(self, scales=SCALES):
        head = GaussianHead(variance="fixed", log_var=0.0)
        columns = [ColumnModel(head=head, transform=Standardise(center=0.0, scale=scale)) for scale in scales]
        names = [Column(name=f"x{d}", kind="continuous") for d in range(len(scales))]
        schema = Schema(columns=(*names, Column(name="c", kind="constant", value=3.0)))
        self.members = [SimpleNamespace(features=Features(schema, columns))]
        self.scales, self.calls = np.array(scales), []

    def estimate(self, rows, precision):
        self.calls.append((precision, len(rows)))
        return SimpleNamespace(log_px=np.nansum(stats.norm(scale=self.scales).logpdf(rows[:, :-1]), axis=1))

    def rows(self, n, seed=0):
        values = self.scales * np.random.default_rng(seed).normal(size=(n, len(self.scales)))
        return np.column_stack([values, np.full(n, 3.0)])


def test_a_missing_number_counts_as_density_1_in_standardised_units():
    """The log-density of a uniform distribution one standard deviation wide is -log(scale) in data units."""
    model = IndependentNormals()
    adjustment = fit_adjustment(model, model.rows(50), model.rows(50), PRECISION, seed=0)
    np.testing.assert_allclose(adjustment.parts, -np.log(SCALES), rtol=1e-12)


def test_a_missing_text_counts_as_the_mean_log_probability():
    """The negative entropy of the shares 1/2, 1/4, 1/4 is -1.5 log 2."""
    column = Column(name="city", kind="categorical", categories=("a", "b", "c"))
    features = Features(Schema(columns=(column,)), [ColumnModel(head=CategoricalHead(size=3))])
    estimator = SimpleNamespace(members=[SimpleNamespace(features=features)])
    rows = np.array([[0.0], [0.0], [1.0], [2.0], [np.nan]])
    adjustment = fit_adjustment(estimator, rows, rows, PRECISION, seed=0)
    assert adjustment.parts == (pytest.approx(-1.5 * math.log(2.0)),)
    assert adjustment.levels == ()  # a row of one column has no cells besides the missing one


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_with_missing_cells_get_the_distribution_of_complete_rows(count):
    """Rows that were not used for the fit: about 5 % of them are below the 5 % quantile of complete rows."""
    model = IndependentNormals()
    adjustment = fit_adjustment(model, model.rows(50), model.rows(1000, seed=1), PRECISION, seed=0)
    assert [level.missing for level in adjustment.levels] == [1, 2, 3]
    rows = model.rows(4000, seed=2)
    threshold = np.quantile(model.estimate(rows, PRECISION).log_px, 0.05)
    missing = np.random.default_rng(3).random((4000, 4)).argsort(axis=1) < count
    rows[:, :4][missing] = np.nan
    below = (adjustment.forward(model.estimate(rows, PRECISION).log_px, missing) < threshold).mean()
    assert below == pytest.approx(0.05, abs=0.025)


def test_maps_begin_above_the_number_of_cells_that_are_usually_missing():
    """Calibration rows with two missing cells already have their own distribution."""
    model = IndependentNormals()
    rows = model.rows(100)
    rows[:, :2] = np.nan
    assert [level.missing for level in fit_adjustment(model, rows + 0.0, rows, PRECISION, seed=0).levels] == [3]


def test_too_few_rows_give_no_maps_and_novel_rows_count():
    """Scoring treats rows with new values like all others, so calibration does as well."""
    model = IndependentNormals()
    rows = model.rows(12)
    assert fit_adjustment(model, rows, rows[:9], PRECISION, seed=0).levels == ()
    rows[:3, -1] = 4.0  # another value in a constant column
    assert len(fit_adjustment(model, rows, rows, PRECISION, seed=0).levels) == 3


def test_a_map_is_fitted_to_scores_of_the_model_s_precision_from_1000_rows_at_most():
    model = IndependentNormals()
    fit_adjustment(model, model.rows(50), model.rows(1200), PRECISION, seed=0)
    assert model.calls == [(PRECISION, 1000)] * 4  # complete rows, and three numbers of cells


def test_the_seed_chooses_the_cells():
    model = IndependentNormals()
    rows = model.rows(60)
    one, again, other = (fit_adjustment(model, rows, rows, PRECISION, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
