"""Cancelling of statements in external databases, by each driver's own method."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from headway.errors import ExternalFailed

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

log = logging.getLogger("headway.external")

CANCEL_S: Final = 3.0
"""Timeout of one request to cancel, in seconds."""
AGAIN_S: Final = 0.1
"""Seconds between attempts: a cancel that arrives between two statements of a call has no effect."""


class Statements:
    """The running statement of one call, which can be cancelled from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._over = False

    @contextlib.contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Register the connection of the call for the block; raise ExternalFailed if the call was cancelled."""
        with self._lock:
            if self._over:
                raise ExternalFailed("the request was cancelled")
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def end(self, done: Callable[[], bool], kill: Callable[[int], None]) -> None:
        """Cancel the call's statements until the call is done; `kill` ends the query of a MySQL connection."""
        self._over = True
        pause = threading.Event()
        while not done():
            with self._lock:
                if self._connection is not None:
                    try:
                        _cancel(self._connection.connection.dbapi_connection, kill)
                    except Exception as error:  # noqa: BLE001 - whatever the driver raises: the statement's own limit is left
                        log.warning("external.not_cancelled error=%s", type(error).__name__)
                        return
            pause.wait(AGAIN_S)


def _cancel(driver: Any, kill: Callable[[int], None]) -> None:
    if hasattr(driver, "interrupt"):  # sqlite3
        driver.interrupt()
    elif hasattr(driver, "cancel_safe"):  # psycopg
        driver.cancel_safe(timeout=CANCEL_S)
    else:  # PyMySQL
        kill(driver.thread_id())
