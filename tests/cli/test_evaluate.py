"""``anomaly-vae evaluate``: labels in, figures out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomaly_vae.scorer import load
from tests.support.command_line import cli, in_process, one_line, write_csv
from tests.support.data import make_rows


@pytest.fixture(scope="module")
def rows():
    """300 normal rows, and 30 whose first column does not fit the fourth."""
    odd = make_rows(30, seed=8)
    odd[:, 1] += np.linspace(0.0, 0.05, 30)
    return np.concatenate([make_rows(300, seed=7), odd])


@pytest.fixture(scope="module")
def labelled(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluate") / "labelled.csv"
    extra = {"broken": np.repeat([0, 1], [300, 30]), "site": ["n", "s"] * 165, "word": ["ok"] * 300 + ["bad"] * 30}
    write_csv(path, rows, extra=extra)
    return path


def test_the_figures_are_those_of_the_scores(model_path, labelled, rows):
    done = in_process("evaluate", model_path, labelled, "--by", "site", "--json", "--resamples", 100)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    scorer = load(model_path)
    scores, truth = scorer.score(rows), np.repeat([0, 1], [300, 30])
    assert facts["auroc"]["value"] == pytest.approx(roc_auc_score(truth, -scores.score))
    assert facts["decision"]["recall"]["count"] == scores.is_anomaly[300:].sum()
    assert facts["verdict"]["found"]["count"] == scores.is_anomaly[:300].sum()
    assert facts["label"] == "broken"  # the label column of the model
    assert [point["target_fpr"] for point in facts["points"]] == [0.001, 0.01, 0.05]
    at_05 = scorer.score(rows, target_fpr=0.05).is_anomaly
    assert facts["points"][2]["precision"]["share"] == pytest.approx(truth[at_05].mean())
    assert [(each["column"], each["value"], each["rows"]) for each in facts["slices"]] == [
        ("site", "n", 165),
        ("site", "s", 165),
    ]
    assert facts["bundle_digest"] == scorer.bundle.digest


def test_the_text_is_on_standard_output_and_quiet_prints_nothing(model_path, labelled):
    command = ["evaluate", model_path, labelled, "--label", "broken", "--resamples", 100]
    done = in_process(*command)
    assert done.returncode == 0, done.stderr
    assert f"{model_path} on {labelled}:" in done.stdout.replace("\n", "")
    assert "330 labelled rows, 30 of them anomalies (9.09 %)" in done.stdout
    assert "Promise: false alarms among normal rows" in done.stdout
    assert in_process(*command, "--quiet").stdout == ""


def test_limits_of_the_user_decide_the_exit_code(model_path, labelled):
    command = ["evaluate", model_path, labelled, "--resamples", 100, "--quiet"]
    assert in_process(*command, "--min-auroc", 0.6, "--max-fpr", 0.3).returncode == 0
    done = in_process(*command, "--min-auroc", 0.9999, "--max-fpr", 0.0001)
    one_line(
        done, 5, "AUROC is 0.", "--min-auroc is 0.9999; 0.0", "of the normal rows are flagged, --max-fpr is 0.0001"
    )


def test_wrong_arguments_say_what_to_do(model_path, labelled, tmp_path):
    one_line(in_process("evaluate", model_path, labelled, "--label", "word"), 2, "--label word", "found text")
    write_csv(tmp_path / "bare.csv", make_rows(3))
    done = cli(tmp_path, "evaluate", model_path, "bare.csv")
    one_line(done, 2, "Give --label COLUMN", "the label column of MODEL, broken, is not among them")
    one_line(in_process("evaluate", labelled, model_path), 2, "MODEL and INPUT are swapped")
    one_line(in_process("evaluate", model_path, labelled, "--at", "0.1,2"), 2, "2")
    write_csv(tmp_path / "normal.csv", make_rows(30), extra={"broken": [0] * 30})
    done = in_process("evaluate", model_path, tmp_path / "normal.csv", "--min-auroc", 0.5, "--quiet")
    one_line(done, 5, "there is no AUROC, since all rows have one label")
    write_csv(tmp_path / "odd.csv", make_rows(30), extra={"broken": [1] * 30})
    done = in_process("evaluate", model_path, tmp_path / "odd.csv", "--max-fpr", 0.5, "--quiet")
    one_line(done, 5, "there are no normal rows, so that --max-fpr cannot be checked")
