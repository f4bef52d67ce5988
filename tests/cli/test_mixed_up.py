"""A table where a model is expected, and a model where a table is expected."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.mixed_up import refuse_images
from tests.support.command_line import cli, one_line


@pytest.fixture
def mixed(tmp_path):
    """A folder that looks like a model, and a table. Neither is opened."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")
    (tmp_path / "other").symlink_to("model")
    (tmp_path / "new.csv").write_text("a\n1\n")
    return tmp_path


CASES = {
    "score swapped": (
        ["score", "new.csv", "model", "-o", "out.csv"],
        "MODEL and INPUT are swapped: model is a model, new.csv is none; run: anomaly-vae score model new.csv ...",
    ),
    "score without a file": (["score", "no.csv", "model", "-o", "-"], "run: anomaly-vae score model no.csv ..."),
    "score two models": (["score", "other", "model", "-o", "-"], "INPUT model is a model; expected a table of rows"),
    "score by a service": (["score", "grpc://x:1", "model", "-o", "-"], "INPUT model is a model; expected a table"),
    "score two tables": (
        ["score", "new.csv", "new.csv", "-o", "-"],
        "MODEL new.csv is a table; expected the directory made by `anomaly-vae train`: anomaly-vae score MODEL new.csv",
    ),
    "score a table and standard input": (["score", "new.csv", "-", "-o", "-"], "anomaly-vae score MODEL new.csv ..."),
    "encode swapped": (["encode", "new.csv", "model", "-o", "-"], "run: anomaly-vae encode model new.csv ..."),
    "inspect a table": (["inspect", "new.csv"], "MODEL new.csv is a table; expected the directory made by"),
    "sample from a table": (["sample", "new.csv", "-o", "out.csv"], "anomaly-vae sample MODEL"),
}


@pytest.mark.parametrize("case", CASES)
def test_mixed_up_arguments_are_told_with_the_right_command(mixed, case):
    arguments, text = CASES[case]
    one_line(cli(mixed, *arguments), 2, text)
    assert not (mixed / "out.csv").exists()


def test_images_have_no_columns_to_profile(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9, 8, 8), np.uint8))
    one_line(cli(tmp_path, "profile", "x.npy"), 2, "INPUT x.npy holds images; anomaly-vae profile looks at the columns")
    refuse_images("-")
    (tmp_path / "t.csv").write_text("a\n1\n")
    refuse_images(str(tmp_path / "t.csv"))


def test_a_model_is_no_table_to_train_on(mixed):
    from anomaly_vae.cli.mixed_up import refuse_model_as_table
    from anomaly_vae.errors import ConfigError

    with pytest.raises(ConfigError, match=r"INPUT .*model is a model; .* anomaly-vae inspect "):
        refuse_model_as_table(str(mixed / "model"))
    refuse_model_as_table(str(mixed / "new.csv"))
    refuse_model_as_table("-")
    refuse_model_as_table("x" * 5000)  # a name that cannot exist is for others to tell
