"""Waits before restarts."""

from anomaly_vae.service.supervisor.backoff import Backoff


def test_the_first_restart_is_at_once_and_then_the_waits_double_to_ten_seconds():
    backoff = Backoff()
    assert [backoff.wait_s(0.0) for _ in range(8)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff.is_loop


def test_a_healthy_time_makes_the_next_death_the_first():
    backoff = Backoff()
    for _ in range(5):
        backoff.wait_s(29.9)
    assert backoff.is_loop
    assert backoff.wait_s(30.0) == 0.0
    assert not backoff.is_loop
    assert backoff.wait_s(0.0) == 0.5


def test_any_number_of_deaths_is_possible():
    backoff = Backoff()
    assert {backoff.wait_s(0.0) for _ in range(3_000)} == {0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0}
