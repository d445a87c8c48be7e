import json
import logging

from service.logs import JsonFormatter, TextFormatter, request_id


def record(message: str = "model ready", **fields: object) -> logging.LogRecord:
    return logging.getLogger("service.x").makeRecord(
        "service.x", logging.INFO, "f.py", 1, message, (), None, extra=fields
    )


def failed_record() -> logging.LogRecord:
    failed = record()
    failed.exc_info = (ZeroDivisionError, ZeroDivisionError("division"), None)
    return failed


def test_json_is_one_object_a_line_with_the_fields() -> None:
    line = JsonFormatter().format(record(model="tiny", ms=1.5))

    event = json.loads(line)
    assert (event["event"], event["level"], event["model"], event["ms"]) == ("model ready", "info", "tiny", 1.5)
    assert "request_id" not in event
    assert "\n" not in line


def test_a_line_has_the_id_of_its_request() -> None:
    token = request_id.set("r1")
    try:
        event = json.loads(JsonFormatter().format(record()))
        text = TextFormatter().format(record())
    finally:
        request_id.reset(token)

    assert event["request_id"] == "r1"
    assert "request_id=r1" in text


def test_a_text_line_cannot_be_forged_by_a_field() -> None:
    line = TextFormatter().format(record(path="/x\n12:00:00 info forged"))

    assert "\n" not in line


def test_a_failure_has_its_traceback() -> None:
    assert "ZeroDivisionError" in json.loads(JsonFormatter().format(failed_record()))["traceback"]
    assert "ZeroDivisionError" in TextFormatter().format(failed_record())
