"""Log lines on standard error."""

import logging

import pytest

from anomaly_vae.cli.console import shown_log


@pytest.mark.parametrize(("quiet", "lines"), [(False, "a line\n"), (True, "")])
def test_a_shown_log_prints_its_messages_unless_quiet(quiet, lines, capfd):
    with shown_log("anomaly_vae.client", quiet=quiet):
        logging.getLogger("anomaly_vae.client").warning("a %s", "line")
    assert capfd.readouterr() == ("", lines)
