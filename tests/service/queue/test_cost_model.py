"""The predicted time of rows."""

import pytest

from anomaly_vae.service.queue.cost_model import CostKey, CostModel

COST = CostKey(flag_only=False, has_max_std_error=False, num_samples=1_024)


def test_a_single_row_counts_as_much_as_a_tile():
    costs = CostModel()
    costs.learn(COST, 1, 0.16)
    assert costs.seconds(COST, 100) == pytest.approx(1.0)


def test_batches_of_less_than_a_tile_do_not_change_the_prediction():
    """A single row may take as long as a tile of rows, or less than its part of that time."""
    costs = CostModel()
    costs.learn(COST, 64, 64 * 1e-4)
    for _ in range(1_000):
        costs.learn(COST, 1, 1e-4)
        costs.learn(COST, 15, 1.0)
    assert costs.seconds(COST, 100) == pytest.approx(0.01)


def test_the_cost_of_a_new_budget_is_predicted_from_the_expected_seconds_for_a_sample():
    costs = CostModel()
    costs.expect(COST.model, 2e-6)
    assert costs.seconds(COST._replace(num_samples=4_096), 10) == pytest.approx(10 * 4_096 * 2e-6)


def test_each_model_has_costs_of_its_own_until_it_is_forgotten():
    costs, other = CostModel(), COST._replace(model=("other", "1"))
    before = costs.seconds(other, 10)
    costs.expect(other.model, 2e-6)
    costs.learn(other, 64, 64 * 0.5)
    assert costs.seconds(other, 10) == pytest.approx(5.0)
    assert costs.seconds(COST, 10) == before
    costs.forget(other.model)
    assert costs.seconds(other, 10) == before


@pytest.mark.parametrize(
    ("seconds_per_row", "rows"),
    [(1e-7, 1_024), (1e-4, 96), (0.005, 32), (0.01, 16), (0.05, 5), (1.0, 1), (100.0, 1)],
)
def test_a_full_batch_of_slow_rows_has_few_of_them(seconds_per_row, rows):
    """A new request waits for the batch before it: about 10 ms, and about 0.25 s where rows take long."""
    costs = CostModel()
    costs.learn(COST, 64, 64 * seconds_per_row)
    assert costs.full_batch(COST) == rows


def test_full_batches_of_slow_rows_change_the_prediction():
    """They have less than a tile of rows. The golden rows that were measured first may take longer than a caller's."""
    costs = CostModel()
    costs.learn(COST, 32, 32 * 0.1)
    for _ in range(100):
        costs.learn(COST, 1, 1.0)
    assert costs.seconds(COST, 1) == pytest.approx(0.1)
    for _ in range(100):
        costs.learn(COST, costs.full_batch(COST), costs.full_batch(COST) * 0.03)
    assert costs.seconds(COST, 1) == pytest.approx(0.03, rel=0.01)


def test_a_row_to_explain_is_expected_to_take_as_long_as_the_scores_that_it_counts_as():
    """Then it is measured, in batches of any number of rows: one row alone fills tiles of the networks."""
    costs, explained = CostModel(), COST._replace(work=5.0)
    costs.learn(COST, 32, 32 * 0.01)
    assert costs.seconds(explained, 3) == pytest.approx(3 * 5 * 0.01)
    assert costs.full_batch(explained) == 5  # a quarter of a second
    costs.learn(explained, 1, 0.1)
    assert costs.seconds(explained, 3) == pytest.approx(3 * 0.1)
    assert costs.seconds(COST, 1) == pytest.approx(0.01)
