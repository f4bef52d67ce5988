"""The run of ``anomaly-vae score``: the metrics know the model and the counts of a job that fails half-way."""

from __future__ import annotations

import gc
import warnings

from prometheus_client.parser import text_string_to_metric_families

from tests.support.command_line import in_process


def test_a_job_that_fails_half_way_has_written_its_counts(folder, tmp_path, monkeypatch):
    """The page is written last: if that fails, all rows were read."""

    def fail(*_, **__):
        raise OSError(28, "No space left on device", "r.html")

    monkeypatch.setattr("anomaly_vae.cli.score_run.write_page", fail)
    metrics = tmp_path / "m.prom"
    files = ("-o", tmp_path / "o.csv", "--report", tmp_path / "r.html", "--metrics-file", metrics)
    done = in_process("score", folder / "model", folder / "new.csv", *files, "-q")
    with warnings.catch_warnings():  # the traceback held the open table
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert done.returncode == 1
    families = text_string_to_metric_families(metrics.read_text(encoding="utf-8"))
    found = {sample.name.removeprefix("anomaly_vae_batch_"): sample for each in families for sample in each.samples}
    assert (found["rows"].value, found["success"].value) == (60, 0)
    assert len(found["model_info"].labels["bundle_digest"]) > 0
