"""One structured line per thing that happened, on stderr: time, level, logger, message; never a line break from outside."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

_ESCAPED: Final = (*range(32), *range(127, 160), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Control characters, line ends and bidirectional marks, which can control a terminal or reorder what it shows."""
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in _ESCAPED} | {0x09: " "}

_KEY: Final = re.compile(r"(hw_[0-9a-z]{4,40}_)[A-Za-z0-9_-]{20,200}")
"""A key, which some clients can put into a URL only: its secret is in no line."""


class Told(Exception):
    """Ends something, and is in the log already: who catches it need not say it again."""


class Untold(logging.Filter):
    """Keeps back what has been told."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether it is news."""
        return not (record.exc_info and isinstance(record.exc_info[1], Told))


class OneLine(logging.Formatter):
    """Writes a record on one line; control characters are escaped, tracebacks follow indented."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z"
        message = _KEY.sub(r"\1…", record.getMessage().translate(_ESCAPES))
        line = f"{moment} {record.levelname.lower():<8} {record.name} {message}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {part.translate(_ESCAPES)}" for part in trace.splitlines())
        return line


def configure(level: str = "INFO") -> None:
    """Send all logs of this process to stderr, in lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    server = logging.getLogger("uvicorn.error")
    server.setLevel("WARNING")  # its start and stop are ours to tell
    server.addFilter(Untold())
