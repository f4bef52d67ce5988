"""Who makes a call."""

from anomaly_vae.service.callers import NO_TOKEN, Priority


def test_a_caller_without_a_token_has_no_limits_and_no_rights():
    assert (NO_TOKEN.name, NO_TOKEN.priority, NO_TOKEN.admin) == ("-", Priority.ONLINE, False)
    assert NO_TOKEN.rows_per_second is NO_TOKEN.outstanding_rows is None
