"""The folder in which a job keeps what it has done."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import warnings

import pyarrow as pa
import pytest

from anomaly_vae.batch import journal as module
from anomaly_vae.batch.journal import job_folder, open_journal, read_state
from anomaly_vae.errors import AnomalyVaeWarning, ConfigError

ME = {"the model": "a", "the input": "b"}


def records(start, rows):
    return pa.RecordBatch.from_pydict({"x": list(range(start, start + rows))})


def numbers(journal, fragment=None):
    return [value for each in journal.batches(fragment) for value in each["x"].to_pylist()]


def stopped(output, *, commits=True, by_fragment=False):
    """A job that fails after 30 rows of two fragments, of which 25 are committed."""

    def job():
        with open_journal(output, ME, resume=False, by_fragment=by_fragment) as journal:
            journal.write(records(0, 10), 0)
            journal.write(records(10, 15), 1)
            if commits:
                journal.commit({"row": 25})
            journal.write(records(25, 5), 1)
            assert numbers(journal) == list(range(30))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        job()
    return caught.value


def test_nothing_is_left_after_success_and_after_a_failure_before_the_first_commit(tmp_path):
    output = tmp_path / "out.csv"
    with open_journal(output, ME, resume=False) as journal:
        journal.write(records(0, 10), 0)
        assert job_folder(output).is_dir()
        assert numbers(journal) == list(range(10))
    assert list(tmp_path.iterdir()) == []
    assert not hasattr(stopped(output, commits=False), "__notes__")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by_fragment", [False, True])
def test_a_job_goes_on_from_its_last_commit(tmp_path, by_fragment):
    output = tmp_path / "out.csv"
    error = stopped(output, by_fragment=by_fragment)
    assert error.__notes__ == [f"{output}: the rows that are done are kept; the same command with --resume goes on"]
    with open_journal(output, ME, resume=True, by_fragment=by_fragment) as journal:
        assert journal.state == {"row": 25}
        assert numbers(journal) == list(range(25))
        journal.write(records(25, 5), 1)
        journal.commit({"row": 30})
        journal.write(records(30, 5), 2)
        if by_fragment:
            assert (numbers(journal, 1), numbers(journal, 2)) == (list(range(10, 30)), list(range(30, 35)))
        assert numbers(journal) == list(range(35))
    assert list(tmp_path.iterdir()) == []


def test_the_rows_of_a_file_can_be_taken_back(tmp_path):
    with open_journal(tmp_path / "out.csv", ME, resume=False) as journal:
        journal.write(records(0, 10), 0)
        journal.write(records(10, 5), 1)
        journal.commit({})
        journal.write(records(15, 5), 1)
        journal.drop(1)
        assert numbers(journal) == list(range(10))
        journal.write(records(20, 5), 2)
        journal.commit({})
        assert numbers(journal) == [*range(10), *range(20, 25)]
        parts = {part["name"] for part in read_state(journal.folder)["parts"]}
        assert parts == {path.name for path in journal.folder.glob("part-*")}  # no space is lost


def test_many_rows_are_written_before_a_commit_and_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_HELD_BYTES", 100)
    with open_journal(tmp_path / "out.csv", ME, resume=False, reduce=lambda table: table.slice(0, 1)) as journal:
        for start in range(0, 100, 20):
            journal.write(records(start, 20), 0)
        assert len(list(journal.folder.glob("part-*"))) == 5
        assert numbers(journal) == [0, 20, 40, 60, 80]


def test_an_unfinished_job_is_dropped_with_a_warning_unless_it_goes_on(tmp_path):
    output = tmp_path / "out.csv"
    stopped(output)
    with contextlib.ExitStack() as stack:
        with pytest.warns(AnomalyVaeWarning, match="an unfinished job is dropped"):
            journal = stack.enter_context(open_journal(output, ME, resume=False))
        assert journal.state is None
        assert list(journal.folder.iterdir()) == []
    stopped(output, commits=False)
    with warnings.catch_warnings(), open_journal(output, ME, resume=True) as journal:
        warnings.simplefilter("error")
        assert journal.state is None


@pytest.mark.parametrize("changed", [{"the model": "c"}, {"the model": "c", "the input": "d"}])
def test_another_job_is_refused_and_kept(tmp_path, changed):
    output = tmp_path / "out.csv"
    stopped(output)
    names = " and ".join(changed)
    with (
        pytest.raises(ConfigError, match=f"is another one: {names} changed"),
        open_journal(output, ME | changed, resume=True),
    ):
        raise AssertionError
    with open_journal(output, ME, resume=True) as journal:
        assert numbers(journal) == list(range(25))


@pytest.mark.parametrize("damage", ["part", "state", "format"])
def test_damaged_files_are_refused(tmp_path, damage):
    output = tmp_path / "out.csv"
    stopped(output)
    folder = job_folder(output)
    state = folder / "job.json"
    if damage == "part":
        next(folder.glob("part-*")).write_bytes(b"short")
        text = "has 5 bytes, expected"
    elif damage == "state":
        state.write_text(json.dumps({**json.loads(state.read_text()), "parts": [{"x": 1}]}))
        text = "are damaged"
    else:
        state.write_text(json.dumps({**json.loads(state.read_text()), "format": 99}))
        text = "the version of anomaly-vae changed"
    with pytest.raises(ConfigError, match=text), open_journal(output, ME, resume=True):
        raise AssertionError


def _locks(output, held, free):
    with open_journal(output, ME, resume=False):
        held.set()
        free.wait()


def test_two_jobs_cannot_write_one_output(tmp_path):
    output = tmp_path / "out.csv"
    with open_journal(output, ME, resume=False):
        with (
            pytest.raises(ConfigError, match=r"out\.csv: another job is writing it"),
            open_journal(output, ME, resume=True),
        ):
            raise AssertionError
        with open_journal(tmp_path / "other.csv", ME, resume=False):
            pass
    context = multiprocessing.get_context("forkserver")
    held, free = context.Event(), context.Event()
    process = context.Process(target=_locks, args=(output, held, free))
    process.start()
    assert held.wait(60)
    with pytest.raises(ConfigError, match="another job"), open_journal(output, ME, resume=True):
        raise AssertionError
    process.kill()
    process.join()
    with open_journal(output, ME, resume=True):  # the lock has ended with the process
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_output_may_have_the_longest_name(tmp_path):
    names = ["x" * 251 + end for end in (".csv", ".tsv")]
    folders = {job_folder(tmp_path / name) for name in names}
    assert len(folders) == 2
    for name in names:
        with open_journal(tmp_path / name, ME, resume=False) as journal:
            assert journal.folder in folders
            (tmp_path / name).touch()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        open_journal(tmp_path / "none" / "out.csv", ME, resume=False),
    ):
        raise AssertionError
