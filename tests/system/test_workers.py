"""A service with two workers: one of them may die, or all may be replaced, and no client notices."""

import json
import os
import signal

import psutil

from anomaly_vae.client import Client
from tests.support.loops import looping
from tests.support.running import eventually, running


def test_deaths_and_replacements_of_workers_give_no_error_and_no_wrong_score(model_path, scorer, new_rows):
    options = ("--workers", 2, "--log-format", "json")
    with running(model_path, *options) as service, looping(service.target, new_rows, scorer.score(new_rows)) as loops:
        supervisor = psutil.Process(service.process.pid)
        assert service.get("/readyz") == (200, "ready: 2 of 2 workers\n")
        for kill in (True, False):
            loops.wait_until_all_are_answered(times=2)
            before, rows = supervisor.children(), service.metric("anomaly_vae_rows_total")
            if kill:
                before[0].kill()
            else:
                supervisor.send_signal(signal.SIGUSR2)
            gone = set(before[:1] if kill else before)
            eventually(lambda gone=gone: is_whole(service, supervisor, gone))
            assert service.metric("anomaly_vae_rows_total") >= rows
            loops.wait_until_all_are_answered(times=2)
        assert service.metric("anomaly_vae_worker_restarts_total", worker="0") == 1
        assert service.metric("anomaly_vae_model_info") == 1
        loops.stop()
        assert service.stop() == 0
        log = [json.loads(line) for line in service.log().splitlines()]
    assert (loops.errors, loops.wrong) == ([], 0)
    assert [record["worker"] for record in log if record["event"] == "serving"] == [0]
    assert [record["worker"] for record in log if record["event"] == "worker_ended"] == [0]
    stopped = [record.get("worker") for record in log if record["event"] == "stopped"]
    assert sorted(stopped[:-1]) == [0, 0, 1, 1]
    assert stopped[-1] is None  # the supervisor itself


def is_whole(service, supervisor, gone):
    """Whether two workers serve, and some others have ended."""
    return not gone & set(supervisor.children()) and service.metric("anomaly_vae_worker_up") == 2


def test_workers_answer_their_calls_and_end_when_their_supervisor_is_killed(model_path, new_rows):
    with running(model_path, "--workers", 2) as service:
        workers = psutil.Process(service.process.pid).children()
        with Client(service.target) as client:
            client.score(new_rows)
        os.kill(service.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert alive == []
