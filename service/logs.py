"""Write structured logs: events with fields, each with the id of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that this task works for."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def configure(*, level: str, style: Literal["json", "text"]) -> None:
    """Send all logs, and the warnings of libraries, to stderr in one style."""
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """Write a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


class TextFormatter(logging.Formatter):
    """Write a record as a line that people read."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        pairs = "".join(f" {key}={_one_line(value)}" for key, value in fields(record).items())
        line = f"{time} {record.levelname.lower():7} {_one_line(record.getMessage())}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Give what was passed as ``extra``, and the request id where there is one."""
    found = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    current = request_id.get()
    return found if current is None else {"request_id": current, **found}


def _one_line(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
