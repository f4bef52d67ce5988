"""Rows that a second version scores as well."""

import asyncio
import logging

import numpy as np
import pytest

from anomaly_vae.scores import Flags
from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.models import shadows as module
from anomaly_vae.service.models.shadows import Shadows
from anomaly_vae.service.queue.scoring_queue import ScoringQueue
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.queues import Echo, rows_from
from tests.support.served import served_model

SHADOW = {"model_name": "model", "model_version": "2"}


class Judge(Echo):
    """An echo that flags odd numbers, and has the options of a real model."""

    def options(self, **options):
        return served_model().options(**options)


def flags(*values):
    return Flags(is_anomaly=np.array(values), num_samples=np.full(len(values), 16), reason=[None] * len(values))


def on_shadows(scenario, limit_rows=1_000):
    async def run():
        metrics = Metrics(1_000, 10**6)
        metrics.models.add(("model", "2"), served_model().scorer)
        metrics.shadows.keep({("model", "2")})
        queue = ScoringQueue(1, limit_rows=limit_rows, limit_bytes=10**6, metrics=metrics)
        shadow = Judge(version="2")
        shadow.scorer.schema = served_model().scorer.schema
        shadows = Shadows(queue, metrics.shadows)

        def value(name, **labels):
            of_model = {} if name.startswith(("rejected", "caller")) else SHADOW
            return metrics.registry.get_sample_value(f"anomaly_vae_{name}", of_model | labels)

        try:
            await asyncio.wait_for(scenario(shadows, shadow, value), 60)
        finally:
            shadow.go.set()
            await asyncio.to_thread(queue.close)

    asyncio.run(run())


async def until_idle(shadows):
    while shadows._tasks:
        await asyncio.wait(shadows._tasks)
        await asyncio.sleep(0)


def test_its_flags_are_compared_and_its_rows_are_not_counted_as_rows_of_callers():
    async def scenario(shadows, shadow, value):
        shadow.go.set()
        shadows.add(shadow, flags(False, True, False, True), lambda served: rows_from(0, 4))
        shadows.add(shadow, flags(True, True, False), lambda served: rows_from(0, 3))
        await until_idle(shadows)
        counts = {name: value("shadow_rows_total", agreement=name)
                  for name in ("both_normal", "both_anomaly", "only_shadow", "only_served")}  # fmt: skip
        assert counts == {"both_normal": 3, "both_anomaly": 3, "only_shadow": 0, "only_served": 1}
        assert value("shadow_dropped_rows_total") == 0
        assert value("rows_total", outcome="anomaly") == value("rows_total", outcome="normal") == 0

    on_shadows(scenario)


def test_rows_are_those_that_the_shadow_reads():
    async def scenario(shadows, shadow, value):
        shadow.go.set()
        asked = []
        shadows.add(shadow, flags(False), lambda served: asked.append(served) or rows_from(1, 1))
        await until_idle(shadows)
        assert asked == [shadow]
        assert value("shadow_rows_total", agreement="only_shadow") == 1

    on_shadows(scenario)


def test_rows_that_it_cannot_read_or_has_no_room_for_are_dropped(caplog):
    def unreadable(_served):
        raise invalid("columns", "has no column 'age'")

    async def scenario(shadows, shadow, value):
        shadow.go.set()
        for _ in range(3):
            shadows.add(shadow, flags(False, False), unreadable)
        shadows.add(shadow, flags(*[False] * 20), lambda served: rows_from(0, 20))  # more than the queue holds
        await until_idle(shadows)
        assert value("shadow_dropped_rows_total") == 26
        assert value("rejected_total", reason="queue_full") == 0  # no request of a caller was refused
        assert value("caller_rejected_total", caller="-", reason="queue_full") == 0

    with caplog.at_level(logging.WARNING):
        on_shadows(scenario, limit_rows=10)
    assert caplog.text.count("cannot read the rows of a request: columns: has no column 'age'") == 1


def test_rows_without_room_are_no_fault_and_later_rows_find_room_again(monkeypatch, caplog):
    monkeypatch.setattr(module, "_MOST_ROWS", 25)

    async def scenario(shadows, shadow, value):
        shadow.go.set()
        for num_rows in (20, 20, 3, 3):  # 20 are more than the queue holds
            shadows.add(shadow, flags(*[False] * num_rows), lambda served, n=num_rows: rows_from(0, n))
            await until_idle(shadows)
        assert value("shadow_dropped_rows_total") == 40
        assert sum(value("shadow_rows_total", agreement=name) for name in ("both_normal", "only_shadow")) == 6

    with caplog.at_level(logging.WARNING):
        on_shadows(scenario, limit_rows=10)
    assert caplog.text == ""


def test_a_fault_is_logged_and_hurts_nobody(caplog):
    async def scenario(shadows, shadow, value):
        shadows.add(shadow, flags(False), lambda served: 1 / 0)
        await until_idle(shadows)
        assert value("shadow_dropped_rows_total") == 1

    on_shadows(scenario)
    assert "the shadow failed with ZeroDivisionError" in caplog.text


def test_at_most_so_many_rows_wait_and_those_left_at_the_end_are_dropped(monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 5)

    async def scenario(shadows, shadow, value):
        for _ in range(3):
            shadows.add(shadow, flags(False, False), lambda served: rows_from(0, 2))
        assert value("shadow_dropped_rows_total") == 2
        await asyncio.to_thread(shadow.begun.wait)
        assert value("caller_outstanding_rows", caller="-") == 0
        shadows.close()
        await until_idle(shadows)

    on_shadows(scenario)


@pytest.mark.parametrize("flags_of", [None])
def test_an_answer_without_flags_has_nothing_to_compare(flags_of):
    async def scenario(shadows, shadow, value):
        answer = flags(True)
        object.__setattr__(answer, "is_anomaly", flags_of)
        shadows.add(shadow, answer, lambda served: rows_from(0, 1))
        assert not shadows._tasks

    on_shadows(scenario)
