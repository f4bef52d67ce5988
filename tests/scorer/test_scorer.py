"""The public scorer: its input, and its way to other processes."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

import anomaly_vae
from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import AnomalyVaeWarning, BundleError, InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import join
from tests.support.data import NAMES


def test_another_budget_gives_log_px_but_no_p_value_and_warns(scorer, new_rows):
    with pytest.warns(UserWarning, match="num_samples is 256, the calibration used 4096"):
        s = scorer.score(new_rows, num_samples=256)
    assert s.p_value is None
    assert s.is_anomaly is None
    assert np.all((s.num_samples > 128) & (s.num_samples <= 256))  # a fit may leave a remainder
    assert np.abs(s.log_px - scorer.score(new_rows).log_px).max() < 2.0


def test_tables_are_matched_by_name(scorer, new_rows):
    frame = pd.DataFrame(new_rows, columns=NAMES)[list(reversed(NAMES))].assign(note="x")
    np.testing.assert_array_equal(scorer.score(frame).log_px, scorer.score(new_rows).log_px)


def test_one_bad_value_refuses_the_call_by_row_and_column(scorer, new_rows):
    bad = new_rows.copy()
    bad[7, 1] = np.inf
    with pytest.raises(InvalidInput, match="row 7, column 'flow' is inf") as caught:
        scorer.score(bad)
    assert caught.value.field == "flow"


def test_a_fresh_process_computes_the_same_bits(scorer, model_path, new_rows, tmp_path):
    np.save(tmp_path / "rows.npy", new_rows)
    code = (
        "import sys, numpy, anomaly_vae\n"
        "model, folder = sys.argv[1:]\n"
        "s = anomaly_vae.load(model, threads=1).score(numpy.load(folder + '/rows.npy')[::-1])\n"
        "numpy.savez(folder + '/out.npz', log_px=s.log_px, std_error=s.std_error)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(model_path), str(tmp_path)], check=True)
    with np.load(tmp_path / "out.npz") as out:
        s = scorer.score(new_rows)
        np.testing.assert_array_equal(out["log_px"][::-1], s.log_px)
        np.testing.assert_array_equal(out["std_error"][::-1], s.std_error)


def test_scoring_imports_none_of_the_training_libraries(model_path):
    """Scoring needs neither torch nor pickle, and must start quickly in a small image."""
    code = (
        "import sys, numpy, anomaly_vae\n"
        "s = anomaly_vae.load(sys.argv[1])\n"
        "s.score(s.sample(3)); s.encode(s.sample(3))\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'onnx', 'onnxscript', 'pandas', 'matplotlib', 'pyarrow', 'grpc'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["from a directory", "in memory"])
def travelling(request, model_path, ensemble):
    if request.param == "in memory":
        return Scorer(ensemble.bundle, threads=1)
    return anomaly_vae.load(model_path, threads=1)


def test_a_spawned_process_scores_the_same_bits(travelling, new_rows):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = [pool.submit(travelling.score_rows, new_rows[:20]).result() for _ in range(2)]
    here = travelling.score_rows(new_rows[:20])
    for each in there:
        for name in ("log_px", "score", "p_value", "std_error", "is_anomaly"):
            assert getattr(each, name).tobytes() == getattr(here, name).tobytes()


def test_joblib_scores_the_same_bits(travelling, new_rows):
    parts = [new_rows[:10], new_rows[10:20]]
    try:
        there = Parallel(n_jobs=2)(delayed(travelling.score)(part) for part in parts)
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert join(there).log_px.tobytes() == travelling.score(new_rows[:20]).log_px.tobytes()


def test_a_pickled_scorer_keeps_what_it_was_made_with(model_path, bundle, monkeypatch, tmp_path):
    """A path is made absolute: the other process may have another current folder."""
    monkeypatch.chdir(model_path.parent)
    scorer = anomaly_vae.load(model_path.name, threads=3, slots=Slots(2))
    data = pickle.dumps(scorer)
    assert len(data) < 1000, "the model itself was pickled"
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(data)  # noqa: S301 (our own bytes)
    assert (again.path, again.bundle.digest) == (model_path, bundle.digest)
    assert again._judge.estimator.threads == 3
    assert pickle.loads(data) is again, "a pool would open the bundle for every task"  # noqa: S301


def test_a_bundle_in_memory_is_pickled_with_its_scorer(bundle):
    again = pickle.loads(pickle.dumps(Scorer(bundle, threads=3)))  # noqa: S301 (our own bytes)
    assert (again.path, again._judge.estimator.threads) == (None, 3)
    assert again.info == Scorer(bundle).info
    assert dict(again.bundle.files) == dict(bundle.files)


def test_a_scorer_whose_folder_changed_meanwhile_is_refused(bundle, ensemble, tmp_path):
    """Silently scoring with another model would mix scores of two models."""
    path = tmp_path / "model"
    write_bundle(bundle, path)
    data = pickle.dumps(anomaly_vae.load(path))
    write_bundle(ensemble.bundle, path, overwrite=True)
    with pytest.raises(BundleError, match=f"has the digest {ensemble.bundle.digest}, .* had {bundle.digest}; the fold"):
        pickle.loads(data)  # noqa: S301 (our own bytes)
    shutil.rmtree(path)
    with pytest.raises(BundleError, match="no model bundle there"):
        pickle.loads(data)  # noqa: S301 (our own bytes)


def test_copies_score_as_the_scorer_does(travelling, new_rows):
    for again in (copy.copy(travelling), copy.deepcopy({"scorer": travelling})["scorer"]):
        assert again.score(new_rows[:3]).log_px.tobytes() == travelling.score(new_rows[:3]).log_px.tobytes()


def test_the_warning_points_at_the_line_of_the_call(scorer, new_rows):
    with pytest.warns(AnomalyVaeWarning, match="no p-value") as caught:
        scorer.score(new_rows[:2], num_samples=64)
    assert [each.filename for each in caught] == [__file__]


def test_a_detector_without_its_libraries_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None\nimport anomaly_vae\nanomaly_vae.VAEDetector"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "ModuleNotFoundError: VAEDetector needs torch and scikit-learn: pip install 'anomaly_vae[train]'"
    assert done.stderr.splitlines()[-1].startswith(expected)


def test_the_public_names_are_there():
    assert set(anomaly_vae.__all__) <= set(dir(anomaly_vae))
    for name in anomaly_vae.__all__:
        assert getattr(anomaly_vae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        anomaly_vae.nothing  # noqa: B018
