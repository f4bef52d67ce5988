"""Candidates train side by side: the same models as one after the other, also after interrupts and failures."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from dataclasses import replace

import pytest

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.training import checkpoint as checkpoints
from anomaly_vae.training import companion as companions
from anomaly_vae.training import team as teams
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.fit import fit_model
from anomaly_vae.training.group import Group
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.schemas import infer_schema
from tests.support.training import QUICK

ROWS = make_rows(300)
PAIR = TrainConfig(random_state=3, max_steps=150, target_fpr=0.05)


@pytest.fixture(scope="module")
def files():
    """The files of the same model, whose candidates trained one after the other."""
    return train_model(ROWS, NAMES, PAIR).bundle.files


@pytest.fixture
def side_by_side(monkeypatch):
    """Two cores, and trainings of any length get a companion."""
    monkeypatch.setattr(teams, "_MIN_STEPS", 1)
    monkeypatch.setattr(teams, "_cores", lambda: 2)


def test_models_trained_side_by_side_have_the_same_bits(side_by_side, files):
    titles = set()
    found = train_model(ROWS, NAMES, PAIR, report=lambda title, _progress: titles.add(title))
    assert titles == {"model 1 of 2", "model 2 of 2"}
    assert found.bundle.files == files


def test_ctrl_c_in_this_process_ends_both_trainings_with_their_best_models(side_by_side):
    config = replace(PAIR, max_steps=100_000)
    companion_steps = []

    def press_once(title, progress):
        if title == "model 2 of 2":
            companion_steps.append(progress.step)
        elif companion_steps:
            raise KeyboardInterrupt

    found = train_model(ROWS, NAMES, config, report=press_once)
    assert found.bundle.manifest.training.interrupted
    assert len(found.members) == 2


def test_ctrl_c_before_the_first_model_stops_the_companion(side_by_side, monkeypatch):
    started = []
    popen = subprocess.Popen

    def recorded(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(companions.subprocess, "Popen", recorded)
    monkeypatch.setattr(teams, "fit_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_model(ROWS, NAMES, PAIR)
    assert [process.poll() is not None for process in started] == [True]


def test_a_companion_that_dies_is_replaced_by_this_process(side_by_side, files, monkeypatch):
    monkeypatch.setattr(companions.sys, "executable", "/bin/false")
    assert train_model(ROWS, NAMES, PAIR).bundle.files == files


def test_no_process_to_start_is_no_reason_to_fail(side_by_side, files, monkeypatch):

    def refuse(*_args, **_options):
        raise OSError("no more processes")

    monkeypatch.setattr(companions.subprocess, "Popen", refuse)
    assert train_model(ROWS, NAMES, PAIR).bundle.files == files


def test_a_run_that_is_killed_in_the_fallback_resumes_with_the_same_result(side_by_side, files, monkeypatch, tmp_path):
    """The checkpoint has the first model as finished before the second one trains in this process."""
    monkeypatch.setattr(checkpoints, "_SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(companions.sys, "executable", "/bin/false")

    def kill(title, progress):
        if title == "model 2 of 2" and progress.step == 100:
            raise RuntimeError

    path = tmp_path / ".checkpoint"
    with pytest.raises(RuntimeError):
        train_model(ROWS, NAMES, PAIR, checkpoint=Checkpoint(path, resume=False), report=kill)
    assert train_model(ROWS, NAMES, PAIR, checkpoint=Checkpoint(path, resume=True)).bundle.files == files


def test_ctrl_c_in_the_wait_for_a_companion_keeps_both_models(side_by_side, monkeypatch):
    """The first model is done; the second one ends early."""

    def quick(config, *rest):
        return fit_model(replace(config, max_steps=100), *rest)

    monkeypatch.setattr(teams, "_wait", lambda _companion: None)
    monkeypatch.setattr(teams, "fit_model", quick)
    found = train_model(ROWS, NAMES, replace(PAIR, max_steps=100_000))
    assert found.bundle.manifest.training.interrupted
    assert len(found.members) in (1, 2)


def test_a_group_of_processes_trains_one_candidate_after_the_other(side_by_side, monkeypatch):
    def diverge(*arguments):
        assert arguments[-1] is group
        raise AnomalyVaeError("diverged")

    group = Group()
    group.count = 2
    monkeypatch.setattr(teams, "fit_model", diverge)
    schema = infer_schema(ROWS, NAMES)
    team = teams.Team(schema, ROWS, ROWS, Checkpoint(None, resume=False), lambda _: None, group)
    configs = [replace(QUICK, max_steps=5000, device="cpu")] * 2
    assert [str(each) for each in team.train(configs, 0)] == ["diverged"]


def test_how_many_candidates_train_side_by_side(monkeypatch):
    configs = [replace(QUICK, max_steps=5000, device="cpu")] * 7
    monkeypatch.setattr(teams, "_cores", lambda: 16)
    assert teams.num_side_by_side(configs, 10**6) == 4
    assert teams.num_side_by_side(configs[:2], 10**6) == 2
    monkeypatch.setattr(teams, "_cores", lambda: 1)
    assert teams.num_side_by_side(configs, 10**6) == 1


@pytest.mark.parametrize("reason", ["short", "no executable", "worker", "large"])
def test_trainings_that_stay_in_this_process(monkeypatch, reason):
    config = replace(QUICK, max_steps=100 if reason == "short" else 5000, device="cpu")
    monkeypatch.setattr(teams, "_cores", lambda: 2)
    if reason == "no executable":
        monkeypatch.setattr(sys, "executable", "")
    if reason == "worker":
        monkeypatch.setattr(multiprocessing.current_process(), "_name", "ForkPoolWorker-1")
    assert teams.num_side_by_side([config, config], 10**10 if reason == "large" else 10**6) == 1
