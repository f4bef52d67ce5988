"""Slots limit the calls of networks and serve threads with priority first."""

import threading

from anomaly_vae.density.runtime import Slots, go_first


def test_threads_with_priority_are_next_and_the_others_follow_in_their_order():
    slots, order, waiting = Slots(1), [], []

    def work(name):
        if name == "first":
            go_first()
        with slots:
            order.append(name)

    with slots:
        for name in ("a", "b", "first"):
            waiting.append(threading.Thread(target=work, args=(name,)))
            waiting[-1].start()
            while len(slots._others) + len(slots._first) < len(waiting):
                pass
    for thread in waiting:
        thread.join()
    assert order == ["first", "a", "b"]
    assert slots._free == 1


def test_no_more_calls_run_than_there_are_slots():
    slots, lock, running, most = Slots(2), threading.Lock(), 0, 0

    def work():
        nonlocal running, most
        for _ in range(200):
            with slots:
                with lock:
                    running += 1
                    most = max(most, running)
                with lock:
                    running -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2
    assert slots._free == 2
