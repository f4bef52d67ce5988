"""The parts of a manifest in words."""

from __future__ import annotations

import pytest

from anomaly_vae.cli.inspect_words import networks_text, new_values_text, range_text, values_text
from anomaly_vae.columns.schema import Column


@pytest.mark.parametrize(
    ("column", "values", "new_values"),
    [
        (Column(name="a", kind="continuous", step=0.5), "steps of 0.5", ""),
        (Column(name="a", kind="cyclic", period=24.0), "period 24", ""),
        (Column(name="a", kind="cyclic", period=7.0, step=1.0), "period 7, steps of 1", ""),
        (Column(name="a", kind="constant", value=7.0, novelty="lowest"), "always 7", "rank lowest"),
        (Column(name="a", kind="constant", value=7.0), "always 7", "rank lowest"),
        (Column(name="a", kind="constant", value=7.0, novelty="density"), "always 7", "by probability"),
        (Column(name="a", kind="categorical", categories=("x", "y"), novelty="lowest"), "x, y", "rank lowest"),
        (
            Column(name="a", kind="categorical", categories=tuple("abcdefg"), rare=(1, 2), novelty="density"),
            "a, b, c, d, e and 2 more (2 rare)",
            "as rare ones",
        ),
        (
            Column(name="a", kind="categorical", categories=("x", "y"), rare=(1,), other_share=0.1, novelty="density"),
            "x, y (1 rare)",
            "by probability",
        ),
    ],
)
def test_a_column_shows_its_rare_categories_and_what_new_values_do(column, values, new_values):
    assert (values_text(column), new_values_text(column)) == (values, new_values)


def test_the_networks_and_the_range_of_a_member(scorer):
    (member,) = scorer.info["members"]
    assert networks_text(member).startswith("mlp, hidden (128, 128), latent dimensions ")
    assert networks_text(member).endswith("heads 4 gaussian")
    low, high = (float(end) for end in range_text(member["columns"][0]["tails"]).split(" to "))
    assert low < high
    assert range_text(None) == ""
