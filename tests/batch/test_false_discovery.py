"""Jobs whose rows decide together: what is written, counted and refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from anomaly_vae.batch import OUTPUT_SCHEMA, Explaining, score_table
from anomaly_vae.batch.false_discovery import FalseDiscovery, refuse_with_fdr
from anomaly_vae.calibration import PValueGrid
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.score_options import ScoreOptions
from tests.support.batches import TEXT, FakeScorer, scored
from tests.support.tables import csv_table

N = 999


class Calibrated(FakeScorer):
    """The p-value of the value v in column a is (1 + the number of 0, 1, ..., 998 up to v) / 1000."""

    digest, served_digests = None, ()

    def score_rows(self, rows, **options):
        scores = super().score_rows(rows, **options)
        j = 1 + np.clip(np.floor(scores.score) + 1, 0, N)
        digest = next(self.digests, None) if self.served_digests else self.digest
        return replace(scores, p_value=j / (N + 1), bundle_digest=digest)

    @property
    def digests(self):
        self._left = getattr(self, "_left", None) or iter(self.served_digests)
        return self._left

    def p_value_grid(self, *, tail=None):
        return PValueGrid.of(N, 0, tail or "low", contrast=False, bundle_digest=self.digest)


def table_of(values):
    return "id,a,city\n" + "".join(f"r{i + 1},{value},Oslo\n" for i, value in enumerate(values))


RNG = np.random.default_rng(5)
VALUES = RNG.permutation([*range(0, 999, 4), *[-1] * 9, *range(8), *["high", ""]])
VALUES_TEXT = table_of(VALUES)


def test_the_flags_are_those_of_the_written_p_values_and_nothing_else_changes(tmp_path):
    plain, _ = scored(tmp_path, Calibrated(), text=VALUES_TEXT, keep=["id"])
    shown = []
    table, summary = scored(
        tmp_path,
        Calibrated(),
        text=VALUES_TEXT,
        keep=["id"],
        fdr=0.2,
        overwrite=True,
        on_batch=lambda counts: shown.append((counts.rows, counts.decided)),
    )
    assert table.schema.equals(plain.schema)
    for name in (name for name in plain.schema.names if name != "is_anomaly"):
        assert table[name].equals(plain[name]), name
    p_value, flags = table["p_value"].to_pylist(), table["is_anomaly"].to_pylist()
    assert [flag is None for flag in flags] == [p is None for p in p_value]
    tests = [(p, flag) for p, flag in zip(p_value, flags, strict=True) if p is not None]
    expected = multipletests([p for p, _ in tests], alpha=0.2, method="fdr_bh")[0]
    assert [flag for _, flag in tests] == expected.tolist()
    assert 0 < expected.sum() < len(tests)
    assert flags != plain["is_anomaly"].to_pylist()
    found = summary.discoveries
    assert (summary.rows, summary.anomalies, summary.unscored.total()) == (len(VALUES), expected.sum(), 1)
    assert (found.num_tests, found.num_flagged) == (len(VALUES) - 1, expected.sum())
    assert found.p_value_cut_off == max(p for p, flag in tests if flag)
    assert shown[-1] == (len(VALUES), len(VALUES))
    assert (len(VALUES), None) in shown
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_rows_without_a_score_are_no_tests(tmp_path):
    """One more row with the largest p-value would make the difference: 2 of 3 tests are flagged, not 2 of 4."""
    text = "a,city\n0.5,Oslo\n0.5,Oslo\n{}900,Oslo\n"
    rate = 2 * 3 / 1000 / 2  # p = 2 / 1000 is exactly q * 2 / 3
    table, summary = scored(tmp_path, Calibrated(), text=text.format("high,Oslo\n"), fdr=rate)
    assert table["is_anomaly"].to_pylist() == [True, True, None, False]
    assert summary.discoveries.num_tests == 3
    table, summary = scored(tmp_path, Calibrated(), text=text.format("900,Oslo\n"), fdr=rate, overwrite=True)
    assert table["is_anomaly"].to_pylist() == [False] * 4
    assert summary.warning is None  # no row has the smallest p-value


@pytest.mark.parametrize("top", [None, 4, 1000])
@pytest.mark.parametrize("only_flagged", [False, True])
def test_the_choice_of_rows_follows_the_decision(tmp_path, top, only_flagged):
    every, _ = scored(tmp_path, Calibrated(), text=VALUES_TEXT, keep=["id"], fdr=0.2)
    ranked, _ = scored(tmp_path, Calibrated(), text=VALUES_TEXT, top=1000, overwrite=True)
    flagged = {i + 1 for i, flag in enumerate(every["is_anomaly"].to_pylist()) if flag}
    found, summary = scored(
        tmp_path,
        Calibrated(),
        text=VALUES_TEXT,
        keep=["id"],
        fdr=0.2,
        top=top,
        only_flagged=only_flagged,
        overwrite=True,
    )
    if top is None and not only_flagged:
        assert found.equals(every)
        return
    numbers = ranked["row"].to_pylist() if top else list(range(1, every.num_rows + 1))
    expected = [row for row in numbers if not only_flagged or row in flagged][:top]
    assert found["row"].to_pylist() == expected
    assert found["id"].to_pylist() == [f"r{row}" for row in expected]
    assert found["is_anomaly"].to_pylist() == [row in flagged for row in expected]
    assert (summary.anomalies, summary.written) == (len(flagged), len(expected))


def test_a_table_without_rows_and_one_without_scores_have_no_flags(tmp_path):
    table, summary = scored(tmp_path, Calibrated(), text="a,city\nhigh,Oslo\n1\n", fdr=0.2)
    assert table["is_anomaly"].to_pylist() == [None, None]
    assert (summary.discoveries.num_tests, summary.discoveries.num_flagged, summary.warning) == (0, 0, None)


def test_an_interrupted_job_leaves_nothing_and_has_written_nothing(tmp_path, capfdbinary):
    def stop(_summary):
        raise KeyboardInterrupt

    for path in (str(tmp_path / "out.csv"), "-"):
        with pytest.raises(KeyboardInterrupt):
            score_table(Calibrated(), csv_table(TEXT), path, fdr=0.1, on_batch=stop)
    assert list(tmp_path.iterdir()) == []
    assert capfdbinary.readouterr().out == b""


WRONG = {
    "a rate of 1": (1.0, {}, None, "fdr must be a number between 0 and 1"),
    "flags alone": (0.1, {"flag_only": True}, None, "--fdr needs p-values, and flag_only gives none"),
    "a budget": (0.1, {"num_samples": 64}, None, "--fdr needs p-values, and num_samples gives none"),
    "an error target": (0.1, {"max_std_error": 0.2}, None, "--fdr needs p-values, and max_std_error gives none"),
    "two rules": (0.1, {"target_fpr": 0.1}, None, "--fdr and target_fpr are two different rules"),
    "reasons": (0.1, {}, Explaining(top=1, every=True), "score with --fdr --only-flagged first"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_fit_are_refused_before_a_row_is_read(tmp_path, case):
    rate, options, explaining, text = WRONG[case]
    with pytest.raises(ConfigError, match=text):
        refuse_with_fdr(rate, ScoreOptions(**options), explaining)
    scorer = Calibrated()
    with pytest.raises(ConfigError, match=text):
        scored(tmp_path, scorer, fdr=rate, options=ScoreOptions(**options), explaining=explaining)
    assert scorer.seen == []
    assert list(tmp_path.iterdir()) == []


def test_a_rate_below_the_smallest_p_value_is_refused_because_no_batch_could_have_a_flag(tmp_path):
    FalseDiscovery(rate=0.001, grid=PValueGrid(N, 1))  # 1 / 1000: a single row can be flagged
    with pytest.raises(ConfigError, match=r"smallest p-value is 0.001; calibrate with at least 1111 rows"):
        FalseDiscovery(rate=0.0009, grid=PValueGrid(N, 1))
    FalseDiscovery(rate=0.0009, grid=PValueGrid(1111, 1))
    with pytest.raises(ConfigError, match="at least 1111 rows"):
        FalseDiscovery(rate=0.0009, grid=PValueGrid(1110, 1))
    with pytest.raises(ConfigError, match="can flag nothing"):
        scored(tmp_path, Calibrated(), fdr=0.0009)


def test_an_existing_output_is_refused_before_a_row_is_scored(tmp_path):
    scored(tmp_path, Calibrated())
    scorer = Calibrated()
    with pytest.raises(ConfigError, match="exists already"):
        scored(tmp_path, scorer, fdr=0.1)
    assert [len(rows) for rows in scorer.seen] in ([], [0])


@pytest.mark.parametrize("digests", [["other"], [None], ["this", "other"], ["this", None]])
def test_rows_scored_by_another_model_than_the_one_of_the_calibration_are_refused(tmp_path, digests):
    """None: the rows of one batch had different models. The first call has no rows."""
    scorer = Calibrated()
    scorer.digest, scorer.served_digests = "this", [None, *digests, *["this"] * 9]
    with pytest.raises(ServiceError, match="has answered with more than one model; name a version"):
        scored(tmp_path, scorer, text=table_of(range(4000)), fdr=0.1)
    assert list(tmp_path.iterdir()) == []
    scorer = Calibrated()
    scorer.digest = "this"
    assert scored(tmp_path, scorer, text=table_of(range(4000)), fdr=0.1)[1].discoveries.num_tests == 4000


def test_the_columns_are_those_of_a_job_without(tmp_path):
    table, _ = scored(tmp_path, Calibrated(), text=TEXT, fdr=0.5)
    assert table.schema.names == OUTPUT_SCHEMA.names
