"""Listener for other servers' commits (LISTEN), on a thread and a connection of its own.

While it is connected it holds a lock, by which the others tell a server that is gone from one that only stands still.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections.abc import Callable
from typing import Final

import psycopg

from headway.store.database import DatabaseGone
from headway.store.postgres.connection import CHANNEL, connect

LOOK_S: Final = 30.0
"""Interval, in seconds, at which an idle connection is checked."""
ANSWER_WITHIN_S: Final = 10.0
BACK_OFF_S: Final = (0.1, 2.0)
"""The shortest and the longest wait before the next attempt to connect."""
HOLD_PLACE: Final = "SELECT pg_try_advisory_lock_shared(hashtextextended(%s, 0))"
"""The lock ends with the connection, so when the process dies, but not while it is paused (see `place_is_held`)."""

log = logging.getLogger("headway.listener")


class Listener:
    """Calls `on_text` with every message, and with None when some may have been missed. On its own thread."""

    def __init__(self, url: str, server_id: str, on_text: Callable[[str | None], None]) -> None:
        self._url = url
        self._server_id = server_id
        self._on_text = on_text
        self._stopping = threading.Event()
        self._told, self._tell = os.pipe()
        """Ends a wait for messages."""
        self._thread = threading.Thread(target=self._run, name="headway-listener", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.close(self._tell)
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._told)

    def _run(self) -> None:
        wait_s = BACK_OFF_S[0]
        while not self._stopping.is_set():
            try:
                with connect(self._url, {}, ANSWER_WITHIN_S) as connection:
                    connection.execute(HOLD_PLACE, [self._server_id])
                    connection.execute(f"LISTEN {CHANNEL}")
                    wait_s = BACK_OFF_S[0]
                    self._on_text(None)  # messages sent before the connection are lost
                    self._listen(connection)
            except (psycopg.Error, DatabaseGone) as error:
                log.info("listener.lost error=%s", error)
            except Exception:  # there is no other listener: after any error it tries again
                log.exception("listener.failed")
            else:
                continue
            self._stopping.wait(wait_s)
            wait_s = min(wait_s * 2, BACK_OFF_S[1])

    def _listen(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        with selectors.DefaultSelector() as either:
            either.register(self._told, selectors.EVENT_READ)
            either.register(connection.fileno(), selectors.EVENT_READ)
            while not self._stopping.is_set():
                for notify in connection.notifies(timeout=0):
                    self._on_text(notify.payload)
                if not either.select(LOOK_S):
                    connection.execute("SELECT 1")
