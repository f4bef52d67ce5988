"""The record of a call."""

from anomaly_vae.service.telemetry.records import current_call


def test_outside_of_a_call_changes_to_the_record_are_dropped():
    current_call().request_id, current_call().rows = "lost", 7
    assert (current_call().request_id, current_call().rows) == ("", 0)
