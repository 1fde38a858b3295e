"""Thread of the worker protocol: the parts that all of them share, and how they obey the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from headway.clock import Clock
from headway.protocol.workers import StopSignal
from headway.worker.attempts.running import RunningAttempts
from headway.worker.protocol.link import Link
from headway.worker.protocol.session import Session

Parts = tuple[RunningAttempts, Link, Session, Clock, threading.Event, Callable[[], None]]
"""Arguments of every protocol thread."""


class ProtocolThread:
    """Parts of a thread that speaks with the server; `drain` is called when the server asks the worker to drain."""

    def __init__(
        self,
        attempts: RunningAttempts,
        link: Link,
        session: Session,
        clock: Clock,
        stopping: threading.Event,
        drain: Callable[[], None],
    ) -> None:
        self._attempts = attempts
        self._link = link
        self._session = session
        self._clock = clock
        self._stopping = stopping
        self._drain = drain

    def _renew(self, worker_id: str) -> None:
        """Register again after the server did not know `worker_id`; its leases are lost."""
        self._session.renew(worker_id, self._attempts.lose_all)

    def _stop(self, signals: Iterable[StopSignal]) -> None:
        for signal in signals:
            self._attempts.stop(signal)
