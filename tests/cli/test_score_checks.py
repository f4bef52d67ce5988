"""Options of score that do not go together."""

from __future__ import annotations

import pytest

from anomaly_vae.cli.score_checks import explaining_of, with_option_names
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions


def test_explanations_need_a_number_and_a_place_for_texts():
    assert explaining_of(None, False, ScoreOptions(), "out.csv") is None
    found = explaining_of(2, True, ScoreOptions(), "out.csv")
    assert (found.top, found.every) == (2, True)
    with pytest.raises(ConfigError, match="--explain-all needs --explain K"):
        explaining_of(None, True, ScoreOptions(), "out.csv")
    with pytest.raises(ConfigError, match="--explain writes texts"):
        explaining_of(1, False, ScoreOptions(), "out.NPY")


def test_messages_name_the_options_of_the_command_line():
    assert with_option_names("num_samples and target_fpr, not my_num_samples") == (
        "--num-samples and --target-fpr, not my_num_samples"
    )
