"""Items that another thread takes before they are asked for."""

from __future__ import annotations

import threading
from itertools import count

import pytest

from anomaly_vae.batch.ahead import reading_ahead
from tests.support.command_line import wait_for


def threads():
    return threading.active_count()


def test_the_items_come_in_their_order_and_the_thread_ends():
    before = threads()
    with reading_ahead(range(1000), 3) as items:
        assert list(items) == list(range(1000))
    with reading_ahead([], 1) as items:
        assert list(items) == []
    assert threads() == before


def test_no_more_items_wait_than_asked():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    with reading_ahead(items(), 2) as ahead:
        assert next(ahead) == 0
        wait_for(lambda: len(taken) == 4)  # one was handed out, two wait, the thread holds one
        assert next(ahead) == 1
        wait_for(lambda: len(taken) == 5)


def test_an_error_comes_where_its_item_would():
    def items():
        yield 1
        raise ZeroDivisionError("here")

    with reading_ahead(items(), 5) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ZeroDivisionError, match="here"):
            next(ahead)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_block_that_ends_early_ends_the_thread(depth):
    before = threads()

    def job():
        with reading_ahead(count(), depth) as ahead:
            assert next(ahead) == 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert threads() == before
