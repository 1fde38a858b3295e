"""The thread that sends heartbeats: which leases the worker holds, and which claims are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from headway.errors import HeadwayError, WorkerNotFound
from headway.protocol.workers import BlockedLoop, ReportRuns
from headway.worker.protocol.session import Backoff
from headway.worker.protocol.thread import Parts, ProtocolThread


class WorkerHeartbeat(ProtocolThread):
    """Says at every heartbeat which leases are held; learns which are lost and which are to stop."""

    def __init__(self, *parts: *Parts, blocked: Callable[[], BlockedLoop | None]) -> None:
        """Keep the parts; `blocked` returns the task that holds the worker's event loop."""
        super().__init__(*parts)
        self._blocked = blocked
        self._due = threading.Event()

    def send_now(self) -> None:
        """Beat now: there is something to say, or the worker ends."""
        self._due.set()

    def run(self) -> None:
        """Beat until the worker ends."""
        backoff = Backoff(0.1, 1.0)
        while not self._stopping.is_set():
            self._due.wait(self._session.heartbeat_ms / 1000)
            self._due.clear()
            while not (self._stopping.is_set() or self.beat()):
                self._stopping.wait(backoff.next_s())
            backoff.reset()

    def beat(self) -> bool:
        """Send one heartbeat; return whether it was answered."""
        session, attempts = self._session, self._attempts
        worker_id, sent_ms = session.id, self._clock.monotonic_ms()
        claiming = session.claiming.now
        held = list(attempts.held)  # after that: what a claim has brought stands in one of the two
        try:
            answer = self._link.report(
                ReportRuns(
                    worker_id=worker_id, held=held, claiming=claiming, heard=session.beat, blocked=self._blocked()
                )
            )
        except WorkerNotFound:
            self._renew(worker_id)
            return True
        except (HeadwayError, OSError, msgspec.MsgspecError):
            return False
        session.heard(sent_ms, answer.beat)
        attempts.heard()
        for run_id, epoch in answer.lost:
            attempts.lose((run_id, epoch))
        self._stop(answer.stop)
        if answer.drain:
            self._drain()
        return True
