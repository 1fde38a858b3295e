"""The thread that fetches work: a long poll whenever there is room."""

from __future__ import annotations

import threading
from typing import Final

from headway.errors import HeadwayError, WorkerNotFound
from headway.protocol.workers import ClaimRuns
from headway.worker.protocol.session import Backoff
from headway.worker.protocol.thread import Parts, ProtocolThread

POLL: Final = "20s"
CRAMPED_POLL: Final = "2s"
"""Poll while an executor has no room. The server ends such a claim when one of our runs ends; this is for when it cannot
know, because a run ended without a word."""
CLAIM_MAX: Final = 10_000
GATHER_S: Final = 0.02
"""Wait for more room before a claim with little of it, in seconds: fewer, larger claims."""
LISTENS_S: Final = 2.0
"""Longest wait in seconds for the signals stream, by which the server notices the end of this worker at once; without it that takes a lease."""
STALL_S: Final = 2.0
"""Time in seconds after which a batch that the loop has not taken up goes to other workers: user code blocks the loop."""


class Claimer(ProtocolThread):
    """Claims as long as the worker is open."""

    def __init__(self, *parts: *Parts, listens: threading.Event) -> None:
        """Keep the parts; `listens` is set when the signals stream is open."""
        super().__init__(*parts)
        self._listens = listens

    def run(self) -> None:
        """Claim until the worker closes."""
        self._listens.wait(LISTENS_S)
        self._attempts.claiming = True
        try:
            self._run()
        finally:
            self._attempts.claiming = False
            self._attempts.changed.set()

    def _run(self) -> None:
        attempts, backoff = self._attempts, Backoff()
        enough = max(1, attempts.most // 4)
        while not (attempts.closing or self._stopping.is_set()):
            if attempts.free < 1:
                attempts.wait_for_room(1, 1.0)
                continue
            if attempts.free < enough:
                attempts.wait_for_room(enough, GATHER_S)
            try:
                self._claim()
            except WorkerNotFound:
                self._renew(self._session.id)
            except (HeadwayError, OSError, ValueError):
                self._stopping.wait(backoff.next_s())
            else:
                backoff.reset()

    def _claim(self) -> None:
        attempts, worker_id = self._attempts, self._session.id
        most = max(1, min(attempts.free, CLAIM_MAX))
        rooms = attempts.rooms(most)
        wait = CRAMPED_POLL if 0 in rooms.values() else POLL
        claiming = self._session.claiming
        try:
            leases = self._link.claim(ClaimRuns(worker_id=worker_id, max=most, wait=wait, rooms=rooms), claiming.begin)
            if not leases or worker_id != self._session.id:
                return
            if attempts.closing:
                attempts.refuse_all(leases)
                return
            attempts.accept(leases)
        finally:
            claiming.end()
        if not attempts.inline.begun.wait(STALL_S):
            attempts.take_back()
            while not (attempts.inline.begun.wait(0.25) or attempts.closing):
                pass
