"""The options of scoring: checked once, with one decision about p-values and flags."""

import inspect
import itertools

import pytest

from anomaly_vae import VAEDetector
from anomaly_vae.batch import RowScorer
from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions, check_budget, warn_uncalibrated
from anomaly_vae.scorer import Scorer

OPTIONS = {
    "score": ["num_samples", "max_std_error", "target_fpr", "tail"],
    "score_rows": ["num_samples", "max_std_error", "target_fpr", "tail"],
    "flag": ["target_fpr", "tail"],
    "flag_rows": ["target_fpr", "tail"],
}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *itertools.product((Scorer, Client, AsyncClient), OPTIONS),
        *itertools.product((RowScorer,), ("score_rows", "flag_rows")),
    ],
)
def test_every_scorer_has_the_same_options_by_keyword_only(kind, method):
    _, _, *options = inspect.signature(getattr(kind, method)).parameters.values()
    assert [option.name for option in options] == OPTIONS[method]
    assert all(option.kind is option.KEYWORD_ONLY and option.default is None for option in options)


@pytest.mark.parametrize("kind", [Scorer, Client, AsyncClient, VAEDetector])
def test_everything_that_explains_takes_the_same_arguments(kind):
    _, rows, top = inspect.signature(kind.explain).parameters.values()
    assert (rows.name, top.name, top.kind, top.default) == ("X", "top", top.KEYWORD_ONLY, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"flag_only": True, "num_samples": 64},
            "flag_only decides by the rule of the calibration; leave out num_samples",
        ),
        ({"flag_only": True, "max_std_error": 0.1}, "flag_only decides by the rule of the calibration"),
        ({"max_std_error": 0.1, "target_fpr": 0.1}, "max_std_error gives no flags; leave out target_fpr"),
        ({"max_std_error": 0.1, "tail": "low"}, "max_std_error gives no flags; leave out tail"),
        *(({"tail": value}, "tail must be 'low' or 'both', got ") for value in ("high", "", 2, ["low"])),
        *(({"max_std_error": value}, "max_std_error must be a positive number") for value in (0, -1.0, True, "1")),
        *(({"max_std_error": float(value)}, "max_std_error must be a positive number") for value in ("nan", "inf")),
        *(({"target_fpr": value}, "target_fpr must be a number between 0 and 1") for value in (0, 1, -0.1, "0.1")),
        ({"max_std_error": "x" * 1000}, r"got 'x{39}\.\.\.$"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        ScoreOptions(**options)


def test_options_are_frozen_and_hashable():
    """The service computes rows with equal options together."""
    options = ScoreOptions(num_samples=64)
    assert {options: 1}[ScoreOptions(num_samples=64)] == 1
    with pytest.raises(AttributeError):
        options.num_samples = 32


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"num_samples": 1024}, None),
        ({"target_fpr": 0.1}, None),
        ({"flag_only": True}, None),
        ({"num_samples": 64}, "num_samples is 64, the calibration used 1024"),
        ({"max_std_error": 0.1}, "max_std_error is not the error target of the calibration"),
    ],
    ids=str,
)
def test_only_the_calibrated_budget_gives_p_values_and_flags(options, reason, recwarn):
    options = ScoreOptions(**options)
    assert options.uncalibrated_reason(1024) == reason
    warn_uncalibrated(options, 1024)
    expected = [] if reason is None else [f"{reason}: there is no p-value and no flag"]
    assert [str(warning.message) for warning in recwarn] == expected


def test_a_budget_is_one_of_the_model_s():
    assert check_budget(32, (16, 32)) == 32
    with pytest.raises(ConfigError, match="num_samples must be one of 16, 32, got 17"):
        check_budget(17, (16, 32))
