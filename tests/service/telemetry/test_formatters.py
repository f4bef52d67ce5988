"""Every record becomes one line without values of rows."""

import json
import logging

import pytest

from anomaly_vae.service.telemetry.formatters import JsonFormatter, TextFormatter
from tests.support.log_lines import raised

HOSTILE = [
    "two\nlines",
    "a carriage\rreturn",
    "a separator\u2028of lines and a\x85next one",
    "\x1b[31mred\x1b[0m",
    "half a pair \udc80",
    'a quote " and a brace }',
    "\x00",
    "right to left \u202e",
    "x" * 100_000,
]


def record_of(message, *arguments, name="anomaly_vae.service", fields=None, error=None):
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.WARNING, __file__, 1, message, arguments, info)
    if fields is not None:
        record.fields = fields
    return record


@pytest.mark.parametrize("text", HOSTILE)
def test_any_record_is_one_line_of_bounded_length(text):
    record = record_of("got %s", text, fields={"event": "call", "request_id": text, "other": [text]})
    line = TextFormatter().format(record)
    assert line.isprintable()
    assert len(line) < 60_000
    as_json = JsonFormatter().format(record)
    assert len(as_json.splitlines()) == 1
    assert as_json.isascii()
    assert json.loads(as_json)["request_id"][:20] == text[:20].replace("\udc80", "?")


def test_json_has_time_level_logger_message_and_the_fields():
    record = record_of("%d rows", 7, fields={"rows": 7, "seconds": 0.25, "nothing": float("nan"), "message": "mine"})
    record.created = 1_700_000_000.0625
    assert json.loads(JsonFormatter().format(record)) == {
        "timestamp": "2023-11-14T22:13:20.062Z",
        "level": "warning",
        "logger": "anomaly_vae.service",
        "message": "7 rows",
        "rows": 7,
        "seconds": 0.25,
        "nothing": None,
    }
    assert TextFormatter().format(record) == "2023-11-14T22:13:20.062Z WARNING 7 rows"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anomaly_vae.service", "a thread failed"),
        ("asyncio", "Task exception was never retrieved\nfuture: <Task exception=ValueError('31337.5')>"),
        ("asyncio", "Exception in callback put(array([31337.5]))"),
        ("some.library", "it failed\nwith 31337.5"),
    ],
)
def test_an_exception_is_logged_with_its_type_and_place_but_without_its_text(formatter, name, message):
    line = formatter.format(record_of(message, name=name, error=raised(ValueError("row 3 has 31337.5"))))
    assert "ValueError" in line
    assert "log_lines.py" in line
    assert "in raised" in line
    assert "31337.5" not in line
    assert message.split("\n")[0].split("(")[0] in line


def test_a_message_with_wrong_arguments_is_still_a_line():
    assert "%d rows" in TextFormatter().format(record_of("%d rows", "seven"))


def test_lines_of_a_worker_have_its_number():
    record = logging.makeLogRecord({"name": "anomaly_vae.x", "msg": "hello", "levelname": "INFO"})
    assert TextFormatter(3).format(record).endswith(" INFO hello worker=3")
    assert json.loads(JsonFormatter(3).format(record))["worker"] == 3
    assert "worker" not in JsonFormatter().format(record)
