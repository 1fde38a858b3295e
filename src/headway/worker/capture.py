"""Python's `logging` inside a run goes to the run's log as well."""

from __future__ import annotations

import logging
from typing import Final

from headway.worker.context import Level, current

_LEVELS: Final[tuple[tuple[int, Level], ...]] = (
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)


class RunLog(logging.Handler):
    """Sends records made inside a run to its log; others go where they would have gone without it."""

    def __init__(self, *, alone: bool) -> None:
        """`alone`: the app has set up no logging, so warnings are still to be shown as Python shows them then."""
        super().__init__(logging.INFO)
        self._alone = alone

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on; never raises a cancellation, since code that logs does not expect one."""
        context = current.get()
        try:
            if context is not None:
                text = record.getMessage()
                if record.exc_info:
                    text = f"{text}\n{(self.formatter or _PLAIN).formatException(record.exc_info)}"
                level: Level = next((name for least, name in _LEVELS if record.levelno >= least), "debug")
                context.add_log(text, level, {"logger": record.name})
            last = logging.lastResort
            if self._alone and last is not None and record.levelno >= last.level:
                last.handle(record)
        except Exception:  # noqa: BLE001 - as every logging handler: a bad record must not fail the run
            self.handleError(record)


_PLAIN: Final = logging.Formatter()


def install() -> RunLog:
    """Listen on the root logger; return the handler, for removal."""
    root = logging.getLogger()
    handler = RunLog(alone=not root.handlers)
    if not root.handlers and root.level == logging.WARNING:
        root.setLevel(logging.INFO)
    root.addHandler(handler)
    return handler


def remove(handler: RunLog) -> None:
    """Listen no more."""
    logging.getLogger().removeHandler(handler)
