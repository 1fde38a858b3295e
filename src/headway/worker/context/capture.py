"""Python's `logging` inside a run goes to the run's log as well, however user code sets up logging.

Records are taken where loggers hand them to handlers (`Logger.callHandlers`), and not by a handler: setting up logging
removes handlers, and loggers that do not propagate would not reach one at the root.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from headway.worker.context.plans import Level, current

_LEVELS: Final[tuple[tuple[int, Level], ...]] = (
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
_PLAIN: Final = logging.Formatter()
_SHOWS_ERRORS: Final = logging.NullHandler()
_PROBE: Final = logging.getLogger("headway-capture")
"""A logger that no app configures: setting up logging with `disable_existing_loggers` disables it with the others."""


class LastResortOutput(logging.Handler):
    """The root logger's handler in an app that sets up no logging: shows warnings, as Python does without a handler.

    With a handler there, `logging.info()` does not set up logging by itself.
    """

    def emit(self, record: logging.LogRecord) -> None:
        last = logging.lastResort
        if last is not None and record.levelno >= last.level:
            last.handle(record)


class LogCapture:
    """Takes records at INFO and above, from the moment it is made until `remove`."""

    def __init__(self) -> None:
        """Keep the present levels of logging, to which `restore` goes back."""
        root = logging.getLogger()
        self._handler = None if root.handlers else LastResortOutput()
        if self._handler is not None:
            root.addHandler(self._handler)
            if root.level == logging.WARNING:
                root.setLevel(logging.INFO)
        self._level = root.level
        self._disabled_level = root.manager.disable
        _PROBE.disabled = False
        self._disabled = {logger.name for logger in _loggers() if logger.disabled}
        self._active = True
        self._call_handlers = logging.Logger.callHandlers
        self._installed = self._taking(self._call_handlers)
        logging.Logger.callHandlers = self._installed  # type: ignore[method-assign]

    def remove(self) -> None:
        """Take no more."""
        self._active = False
        if logging.Logger.callHandlers is self._installed:  # else someone has wrapped it, and calls it
            logging.Logger.callHandlers = self._call_handlers  # type: ignore[method-assign]
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)

    def _taking(self, call_handlers: Callable[[logging.Logger, logging.LogRecord], None]) -> Callable[..., None]:
        def take(logger: logging.Logger, record: logging.LogRecord) -> None:
            if self._active:
                _take(record)
            call_handlers(logger, record)

        return take

    def muted(self) -> str:
        """Return in words what keeps records from being made that were made before; empty if nothing does."""
        root = logging.root
        if root.level <= self._level and root.manager.disable <= self._disabled_level and not _PROBE.disabled:
            return ""  # quickly, since it is asked after each run
        said = []
        if root.level > self._level:
            said.append(f"the root logger's level is {logging.getLevelName(root.level)}")
        if root.manager.disable > self._disabled_level:
            said.append(f"logging is disabled up to {logging.getLevelName(root.manager.disable)}")
        if _PROBE.disabled:
            said.append("existing loggers are disabled")
        return ", ".join(said)

    def restore(self) -> None:
        """Undo the changes named by `muted`; handlers stay as they are."""
        root = logging.getLogger()
        if root.level > self._level:
            root.setLevel(self._level)
        if root.manager.disable > self._disabled_level:
            logging.disable(self._disabled_level)
        if _PROBE.disabled:
            for logger in _loggers():
                logger.disabled = logger.name in self._disabled


def _take(record: logging.LogRecord) -> None:
    """Put a record into the log of the run that made it, if it was one."""
    context = current.get()
    if context is None or record.levelno < logging.INFO:
        return
    try:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{_PLAIN.formatException(record.exc_info)}"
        level: Level = next((name for least, name in _LEVELS if record.levelno >= least), "debug")
        context.add_log(text, level, {"logger": record.name})
    except Exception:  # noqa: BLE001 - as in every logging handler: a bad record must not fail the run
        _SHOWS_ERRORS.handleError(record)


def _loggers() -> list[logging.Logger]:
    found = list(logging.getLogger().manager.loggerDict.values())
    return [logger for logger in found if isinstance(logger, logging.Logger)]
