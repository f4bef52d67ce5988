"""A service that stops or is killed and restarts under load: no client gets an error."""

import random
import signal
import time

import pytest

from tests.support.loops import looping
from tests.support.ports import fixed_port
from tests.support.running import running


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGKILL, ()), (signal.SIGTERM, ()), (signal.SIGTERM, ("--grace", "0"))],
    ids=["kill", "term", "term without grace"],
)
def test_no_restart_gives_an_error_or_a_wrong_score(model_path, scorer, new_rows, number, options):
    """Four restarts. The gaps range from shorter than a start to longer than the waits of a few retries."""
    port, gaps = fixed_port(), random.Random(5)
    with looping(f"127.0.0.1:{port}", new_rows, scorer.score(new_rows)) as loops:
        for gap in (0.0, gaps.uniform(0.1, 0.9), gaps.uniform(1.0, 2.0), 3.0):
            with running(model_path, "--port", port, *options) as service:
                loops.wait_until_all_are_answered(times=2)
                service.stop(number)
            assert loops.errors == []
            time.sleep(gap)
        with running(model_path, "--port", port, *options):
            loops.wait_until_all_are_answered()
            loops.stop()
    assert loops.errors == []
    assert loops.wrong == 0
    assert loops.longest < 60.0
