"""Lines of the log of a service, and exceptions to log."""

import json


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


def lines_of(service):
    """All lines of standard error of a service that has ended, as JSON."""
    return [json.loads(line) for line in service.log().splitlines()]


def calls_in(lines):
    return [line for line in lines if line["event"] == "call"]
