"""Who is alive: a worker's session, which its leases live and die with.

A lease is good as long as its worker is heard from: by heartbeats, and by the signals stream that it keeps open. Both
are timed by the monotonic clock of this process. A server that restarts gives every worker it finds in the store a full
lease to be heard from again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from headway.clock import Clock
from headway.wire.workers import StopAsked

SIGNALS_MAX = 10_000
"""Messages that wait for a worker; older ones are dropped, because heartbeats repeat what matters."""


Lease = tuple[str, int]
"""A run and the epoch of its lease."""


class Claims:
    """Which leases of a worker have never arrived: the answer to the claim that has taken them was lost.

    That is certain of a lease which a heartbeat does not name if the worker, when it sent that heartbeat, was done with the
    claim that has taken it. The claim had begun before the lease was there, and so before anything that the worker heard
    after that: so one waits for a heartbeat which was sent after the answer to another one that was carried out when
    the lease was there. Of the claims that are under way at the worker by then, the lease is none of those that wait here
    and have taken nothing; if there are no others, its claim is over.
    """

    def __init__(self) -> None:
        self._beat = secrets.randbits(32) << 20
        """The last heartbeat; those of another server, or of another life of this one, are not taken for ours."""
        self._first = self._beat
        self._latest = 0
        """The highest number of a claim that has come."""
        self._waiting: set[int] = set()
        """The claims that are here and have taken nothing."""
        self._unnamed: dict[Lease, tuple[int, int]] = {}
        """Leases that no heartbeat has named since → the first one that did not, and when that was."""

    def began(self, number: int) -> None:
        """Note that a claim waits; one that comes late or twice may have another answer under way, and is not counted on."""
        if number > self._latest:
            self._latest = number
            self._waiting.add(number)

    def ended(self, number: int) -> None:
        """Note that it waits no more; called before what it has taken is committed, also from the writer's thread."""
        self._waiting.discard(number)

    def never_arrived(
        self, unnamed: Collection[Lease], claiming: Collection[int] | None, heard: int, now_ms: int, lease_ms: int
    ) -> tuple[list[Lease], int]:
        """Take in a heartbeat; return the leases that are not at the worker for certain, and the heartbeat's number.

        Of a worker that says nothing of its claims one believes that no answer is under way for longer than `lease_ms`.
        """
        self._beat += 1
        before, self._unnamed = self._unnamed, {}
        for lease in unnamed:
            self._unnamed[lease] = before.get(lease, (self._beat, now_ms))
        if claiming is None:
            lost = [lease for lease, (_, since_ms) in self._unnamed.items() if now_ms - since_ms >= lease_ms]
        elif self._first < heard < self._beat and self._waiting.issuperset(claiming):
            lost = [lease for lease, (beat, _) in self._unnamed.items() if beat <= heard]
        else:
            lost = []
        for lease in lost:
            del self._unnamed[lease]
        return sorted(lost), self._beat


class Session:
    """One worker, as this server hears it."""

    def __init__(self, worker_id: str, now_ms: int) -> None:
        self.worker_id = worker_id
        self.heard_ms = now_ms
        self.noted_ms = 0
        """When the store was last told that it is alive (wall clock, for people)."""
        self.streams = 0
        self.broke_ms: int | None = None
        """When its last signals stream broke."""
        self.draining = False
        self.over = False
        """Set when its leases are being taken away."""
        self.claims = Claims()
        self.cramped: set[asyncio.Future[None]] = set()
        """Claims that wait although some executor has no room; done when a run ends, since there may be room then."""
        self.messages: deque[StopAsked] = deque(maxlen=SIGNALS_MAX)
        self.wake = asyncio.Event()

    @contextmanager
    def waiting(self, *, cramped: bool) -> Iterator[asyncio.Future[None] | None]:
        """Give what a claim waits for besides runs: for `make_room`, if some executor has no room; else for nothing."""
        if not cramped:
            yield None
            return
        enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cramped.add(enough)
        try:
            yield enough
        finally:
            self.cramped.discard(enough)

    def make_room(self) -> None:
        """End the cramped claims: the worker asks again with the room that it has now."""
        for claim in self.cramped:
            if not claim.done():
                claim.set_result(None)

    def expires_ms(self, lease_ms: int, disconnect_ms: int) -> int:
        """Return when the session is over if nothing more is heard."""
        over = self.heard_ms + lease_ms
        if self.broke_ms is not None and self.streams == 0:
            over = min(over, self.broke_ms + disconnect_ms)
        return over


class Sessions:
    """All workers that this server hears."""

    def __init__(self, clock: Clock, *, lease_ms: int, disconnect_ms: int) -> None:
        self._clock = clock
        self._lease_ms = lease_ms
        self._disconnect_ms = disconnect_ms
        self._sessions: dict[str, Session] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a session is opened or its stream breaks: there may be an earlier end to watch for."""
        self.local: set[str] = set()
        """Workers inside this process."""

    def get(self, worker_id: str) -> Session | None:
        """Return the session, if it is open."""
        return self._sessions.get(worker_id)

    def open(self, worker_id: str) -> Session:
        """Open the session, or find it open."""
        session = self._sessions.get(worker_id)
        if session is None:
            session = self._sessions[worker_id] = Session(worker_id, self._clock.monotonic_ms())
            self.on_change()
        return session

    def heard(self, session: Session) -> None:
        """Note a sign of life."""
        session.heard_ms = self._clock.monotonic_ms()

    def connected(self, session: Session) -> None:
        """Note that its signals stream is open."""
        session.streams += 1
        session.broke_ms = None
        self.heard(session)

    def excuse(self) -> None:
        """Give everyone a full lease to be heard from: without a database nobody could report or open a stream."""
        for session in self._sessions.values():
            session.broke_ms = None
            self.heard(session)

    def disconnected(self, session: Session) -> None:
        """Note that a signals stream of it has broken."""
        session.streams -= 1
        if session.streams == 0:
            session.broke_ms = self._clock.monotonic_ms()
            self.on_change()

    def tell(self, worker_id: str, message: object) -> None:
        """Put a message where the worker's signals stream finds it."""
        session = self._sessions.get(worker_id)
        if session is not None and isinstance(message, StopAsked):
            session.messages.append(message)
            session.wake.set()

    @property
    def remote(self) -> int:
        """How many workers outside this process are connected."""
        return sum(1 for s in self._sessions.values() if s.streams and s.worker_id not in self.local)

    def drain(self, worker_id: str) -> None:
        """Tell a worker to finish what it has and go."""
        session = self._sessions.get(worker_id)
        if session is not None:
            session.draining = True
            session.wake.set()

    def heard_within(self, ms: int) -> list[str]:
        """Return the workers that were heard from in the last `ms`."""
        now_ms = self._clock.monotonic_ms()
        return [s.worker_id for s in self._sessions.values() if s.heard_ms + ms > now_ms]

    def lapsed(self) -> list[Session]:
        """Return the sessions that are over."""
        now_ms = self._clock.monotonic_ms()
        return [s for s in self._sessions.values() if s.expires_ms(self._lease_ms, self._disconnect_ms) <= now_ms]

    def next_expiry_ms(self) -> int | None:
        """Return when the next session would be over, in monotonic milliseconds."""
        return min((s.expires_ms(self._lease_ms, self._disconnect_ms) for s in self._sessions.values()), default=None)

    def close(self, session: Session) -> None:
        """Forget a session; whoever waits on it finds it gone."""
        if self._sessions.get(session.worker_id) is session:
            del self._sessions[session.worker_id]
        session.wake.set()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._sessions)
