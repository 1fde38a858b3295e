"""Logs on stderr, one line per record, as text or JSON: time, level, logger, message; line breaks are escaped.

A record in JSON has `time`, `level`, `logger` and `message`, followed by the fields of its kind: `exception` (a
traceback), `worker` (the number of the worker process that wrote it), and those of the access log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final

_ESCAPED: Final = (*range(32), *range(127, 160), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Control characters, line ends and bidirectional marks, which can control a terminal or reorder what it shows."""
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in _ESCAPED} | {0x09: " "}

_KEY: Final = re.compile(r"(hw_[0-9a-z]{4,40}_)[A-Za-z0-9_-]{20,200}")
"""Pattern of a key, which some clients can put into a URL only; its secret is not logged."""


class LoggedError(Exception):
    """An error that ends an operation and is logged already."""


class LoggedErrorFilter(logging.Filter):
    """Filter of records with a LoggedError."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], LoggedError))


class OneLine(logging.Formatter):
    """Formatter of a record as one line; control characters are escaped, tracebacks follow indented."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        moment = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z"
        message = _KEY.sub(r"\1…", record.getMessage().translate(_ESCAPES))
        line = f"{moment} {record.levelname.lower():<8} {record.name} {message}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {part.translate(_ESCAPES)}" for part in trace.splitlines())
        return line


class JsonLine(logging.Formatter):
    """Formatter of a record as one JSON object on one line, in ASCII."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        more = dict(getattr(record, "fields", {}))
        if record.exc_info:
            more["exception"] = self.formatException(record.exc_info)
        moment = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z"
        return as_json(record.levelname.lower(), record.name, record.getMessage(), moment, **more)


class Words(logging.Formatter):
    """Formatter of logger and message alone, for people."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.name.replace('.', ' ')}: {record.getMessage()}"


def as_json(level: str, logger: str, message: str, moment: str, **more: Any) -> str:
    """Return a record."""
    record = {"time": moment, "level": level, "logger": logger, "message": message, **more}
    return json.dumps(
        {name: _KEY.sub(r"\1…", value) if isinstance(value, str) else value for name, value in record.items()}
    )


def line_of_worker(number: int, line: bytes) -> bytes:
    """Return a line of a worker process as a record: JSON with the worker's number, or text as its message."""
    text = line.decode(errors="replace").rstrip("\r")
    if text.startswith('{"time": '):
        try:
            entry = json.loads(text)
            return (
                as_json(
                    entry.pop("level"),
                    entry.pop("logger"),
                    entry.pop("message"),
                    entry.pop("time"),
                    **entry,
                    worker=number,
                ).encode()
                + b"\n"
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # it only looked like one
    record = logging.LogRecord("headway.worker.output", logging.INFO, "", 0, "%s", (text,), None)
    record.fields = {"worker": number}
    return JsonLine().format(record).encode() + b"\n"


def say(text: str, level: int = logging.INFO) -> None:
    """Write a message to stderr, if it is open: as text, or as a record where logs are JSON."""
    if in_json():
        logging.getLogger("headway").log(level, "%s", text)
    else:
        with contextlib.suppress(OSError, ValueError):  # it is closed
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - what a person sees


def in_json() -> bool:
    """Return whether this process logs in JSON."""
    return any(isinstance(handler.formatter, JsonLine) for handler in logging.getLogger().handlers)


def of_worker(level: str, form: str) -> Callable[[int, str], None]:
    """Return a function that writes a line of a worker process at a level, past the loggers, which are the app's.

    In JSON, warnings of an app that sets up no logging are records too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLine() if form == "json" else Words())
    if form == "json" and logging.lastResort is not None:
        logging.lastResort.setFormatter(JsonLine())
    least = logging.getLevelName(level.upper())

    def write(number: int, text: str) -> None:
        if number >= least:
            handler.handle(logging.LogRecord("headway.worker", number, "", 0, text, None, None))

    return write


def configure(level: str = "info", form: str = "text") -> None:
    """Send all logs of this process to stderr, in lines of text or JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLine() if form == "json" else OneLine())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("headway.access").setLevel("INFO")  # HEADWAY_ACCESS_LOG turns it on, at any level
    server = logging.getLogger("uvicorn.error")
    server.setLevel("WARNING")  # its start and stop are ours to tell
    server.addFilter(LoggedErrorFilter())
