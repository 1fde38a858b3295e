"""The thread that fetches work: a long poll whenever there is room."""

from __future__ import annotations

import threading
from typing import Final

from headway.errors import HeadwayError, WorkerNotFound
from headway.wire.workers import ClaimRuns
from headway.worker.floor import Floor
from headway.worker.link import Link
from headway.worker.session import Backoff, Session

POLL: Final = "20s"
CRAMPED_POLL: Final = "2s"
"""With an executor that has no room. The server ends such a claim when one of our runs ends; this is for when it cannot
know, because a run ended without a word."""
CLAIM_MAX: Final = 10_000
GATHER_S: Final = 0.02
"""With little room, how long to wait for more of it before asking: fewer, larger claims."""
LISTENS_S: Final = 2.0
"""How long to wait until the server would notice the end of this worker at once; without that it takes a lease."""
STALL_S: Final = 2.0
"""When the loop has not taken up a batch after this long, user code blocks it, and the batch goes to other workers."""


class Claimer:
    """Claims as long as the worker is open."""

    def __init__(
        self, floor: Floor, link: Link, session: Session, listens: threading.Event, stopping: threading.Event
    ) -> None:
        """Not running yet; `listens` is set when the signals stream is open."""
        self._floor = floor
        self._link = link
        self._session = session
        self._listens = listens
        self._stopping = stopping

    def run(self) -> None:
        """Claim until the worker closes."""
        self._listens.wait(LISTENS_S)
        self._floor.claiming = True
        try:
            self._run()
        finally:
            self._floor.claiming = False
            self._floor.changed.set()

    def _run(self) -> None:
        floor, backoff = self._floor, Backoff()
        enough = max(1, floor.most // 4)
        while not (floor.closing or self._stopping.is_set()):
            if floor.free < 1:
                floor.wait_for_room(1, 1.0)
                continue
            if floor.free < enough:
                floor.wait_for_room(enough, GATHER_S)
            try:
                self._claim()
            except WorkerNotFound:
                self._session.renew(self._session.id, floor.lose_all)
            except (HeadwayError, OSError, ValueError):
                self._stopping.wait(backoff.next_s())
            else:
                backoff.reset()

    def _claim(self) -> None:
        floor, worker_id = self._floor, self._session.id
        most = max(1, min(floor.free, CLAIM_MAX))
        rooms = floor.rooms(most)
        wait = CRAMPED_POLL if 0 in rooms.values() else POLL
        claiming = self._session.claiming
        try:
            leases = self._link.claim(ClaimRuns(worker_id=worker_id, max=most, wait=wait, rooms=rooms), claiming.begin)
            if not leases or worker_id != self._session.id:
                return
            if floor.closing:
                floor.refuse_all(leases)
                return
            floor.accept(leases)
        finally:
            claiming.end()
        if not floor.begun.wait(STALL_S):
            floor.take_back()
            while not (floor.begun.wait(0.25) or floor.closing):
                pass
