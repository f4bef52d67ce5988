"""anomaly-vae drift, as a user runs it."""

import json
import shutil

import msgspec
import pytest

from anomaly_vae.bundle.files import read_bundle, with_calibration, write_bundle
from anomaly_vae.cli import cli
from anomaly_vae.errors import BundleError
from tests.support.command_line import in_process, one_line, write_csv
from tests.support.data import make_rows

# The process of a refused file ends, and closes it; here the process goes on.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    same = make_rows(200, seed=70)
    kilo = same.copy()
    kilo[:, 0] *= 1000.0
    for name, rows in {"same": same, "kilo": kilo}.items():
        write_csv(folder / f"{name}.csv", rows)
    return folder


def drift(model, path, *options):
    done = in_process("drift", model, path, "--json", *options)
    return done.returncode, json.loads(done.stdout)


def test_rows_like_those_of_the_training_have_not_changed(model_path, files):
    code, facts = drift(model_path, files / "same.csv")
    assert (code, facts["drift"], facts["scored"], facts["calibration_rows"]) == (0, False, 200, 120)
    assert facts["p_value"] > facts["alpha"] == 0.01
    assert {each["changed"] for each in facts["columns"]} == {False}


def test_another_unit_is_drift_with_exit_code_5_and_a_name(model_path, files):
    code, facts = drift(model_path, files / "kilo.csv")
    assert (code, facts["drift"]) == (5, True)
    first = facts["columns"][0]
    assert (first["column"], first["units"], first["changed"]) == ("pressure", "x 1000", True)
    assert facts["order"]["noticed_at"] < 30
    assert sum(each["changed"] for each in facts["columns"]) == 1


def test_the_text_says_what_was_found(model_path, files):
    done = in_process("drift", model_path, files / "kilo.csv")
    assert done.returncode == 5
    text = " ".join(done.stdout.split())
    assert "DRIFT: the rows are not like the calibration rows" in text
    assert "pressure looks like a change of units: x 1000" in text
    assert "no change was found in 4 other columns" in text
    assert max(map(len, done.stdout.splitlines()[2:])) <= 80
    done = in_process("drift", model_path, files / "same.csv", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_alpha_is_the_limit_of_the_verdict(model_path, files):
    _, facts = drift(model_path, files / "same.csv")
    alpha = (1.0 + facts["p_value"]) / 2.0
    if alpha < 1.0:
        code, _ = drift(model_path, files / "same.csv", "--alpha", str(alpha))
        assert code == 5


def test_a_bundle_without_statistics_is_compared_with_samples_of_the_model(model_path, files, tmp_path):
    """Bundles of before are read, and columns are shown without p-values."""
    old = read_bundle(model_path)
    calibration, created_at = old.manifest.calibration, old.manifest.created_at
    write_bundle(with_calibration(old, calibration, old.calibration, created_at), tmp_path / "model")
    code, facts = drift(tmp_path / "model", files / "kilo.csv")
    assert (code, facts["columns_compared_with"], facts["parts"]) == (5, "samples of the model", 2)
    assert (facts["columns"][0]["column"], facts["columns"][0]["p_value"]) == ("pressure", None)
    done = in_process("drift", tmp_path / "model", files / "kilo.csv")
    assert "no p-values" in done.stdout
    assert "x 1000" in done.stdout


def test_calibrate_writes_the_statistics_of_its_rows(model_path, tmp_path):
    """So rows that have changed for good are no drift after a calibration on them."""
    rows = make_rows(400, seed=71)
    rows[:, 3] += 30.0
    write_csv(tmp_path / "new.csv", rows[:200])
    write_csv(tmp_path / "later.csv", rows[200:])
    assert drift(model_path, tmp_path / "later.csv")[0] == 5
    done = in_process("calibrate", model_path, tmp_path / "new.csv", "-o", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    code, facts = drift(tmp_path / "other", tmp_path / "later.csv")
    assert (code, facts["calibration_rows"]) == (0, 200)
    assert facts["columns_compared_with"] == "calibration rows"


def test_statistics_that_do_not_fit_the_columns_are_refused(bundle, tmp_path):
    manifest = bundle.manifest
    statistics = msgspec.structs.replace(manifest.statistics, num_rows=7)
    with pytest.raises(BundleError, match=r"statistics must fit schema\.columns"):
        with_calibration(bundle, manifest.calibration, bundle.calibration, manifest.created_at, statistics=statistics)


def test_what_cannot_be_compared_is_refused(model_path, files, tmp_path):
    one_line(in_process("drift", "grpc://127.0.0.1:50051", files / "same.csv"), 2, "is a service", "directory")
    one_line(in_process("drift", files / "same.csv", model_path), 2, "swapped")
    (tmp_path / "none.csv").write_text("pressure,flow,valve,temperature,unit\n")
    one_line(in_process("drift", model_path, tmp_path / "none.csv"), 2, "no row can be scored")
    shutil.copytree(model_path, tmp_path / "model")
    (tmp_path / "model" / "golden.npy").write_bytes(b"")
    assert in_process("drift", tmp_path / "model", files / "same.csv").returncode == 3


def test_rows_that_cannot_be_read_are_counted(model_path, tmp_path):
    rows = make_rows(50, seed=72)
    write_csv(tmp_path / "new.csv", rows)
    with (tmp_path / "new.csv").open("a") as file:
        file.write("high,1,1,1,7\n,,,,\n")
    _, facts = drift(model_path, tmp_path / "new.csv")
    assert (facts["rows"], facts["scored"], facts["unscored"]) == (52, 50, {"unreadable": 1})
    missing = {each["column"]: each["missing"][1] for each in facts["columns"]}
    assert missing["flow"] == pytest.approx(1 / 51)


def test_the_help_teaches():
    text = cli.get_command(None, "drift").help
    assert "exit code is 0" in text
    assert "anomaly-vae drift model this_week.csv" in text
