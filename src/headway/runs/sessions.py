"""Sessions of workers: their heartbeats and signals streams, on which their leases depend.

A lease is valid as long as its worker sends heartbeats or keeps its signals stream open. A server that restarts gives
every worker in the store a full lease for its next heartbeat.

A worker relies on its leases for one lease after the last heartbeat whose answer it received, so each heartbeat names
that answer. If none has arrived for a whole lease, the worker has given its leases up, and the server does so too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Self

import msgspec

from headway.clock import Clock
from headway.kernel.worker import Worker
from headway.notify.events import Dispatcher, SessionsChanged, StopRequested
from headway.protocol.workers import BlockedLoop, StopSignal

SIGNALS_MAX: Final = 10_000
"""Messages that wait for a worker; older ones are dropped, because heartbeats repeat what matters."""
UNANSWERED_MAX: Final = 100
"""Most unacknowledged answers to heartbeats that are remembered; a worker sends one heartbeat after the other."""
TURN_MAX_MS: Final = 500
"""Longest interval between two calls of `LeaseClock.turn`."""
TURNS_OF_A_LEASE: Final = 12
BEATS_OF_A_LEASE: Final = 3
"""Heartbeats that a worker sends in one lease."""
NEVER: Final = -(1 << 62)

Lease = tuple[str, int]
"""Id of a run, and the epoch of its lease."""

_decode_names: Final = msgspec.json.Decoder(list[str]).decode


class Registration(msgspec.Struct, frozen=True):
    """A registered worker: its row, and the queues and tasks that it claims from."""

    worker: Worker
    queues: frozenset[str]
    """Qualified names; empty: all queues."""
    tasks: Container[str]
    notices: tuple[str, ...] = ()
    """Messages for the worker, such as why a declared schedule does not count."""

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """Return the registration of a worker's row."""
        return cls(worker, frozenset(_decode_names(worker.queues)), frozenset(_decode_names(worker.tasks)))


class LeaseClock:
    """Monotonic clock that does not count pauses of this server; leases are timed by it, on the event loop.

    While a server is paused, with its virtual machine or by swapping, heartbeats wait in the kernel. A loop calls `turn`
    regularly while the event loop runs, and each call covers twice the interval to the next; time beyond that is not
    counted. While the database hangs no heartbeat can be answered, and `turn` is not called. After a pause as long as
    the interval of heartbeats, every worker has a full lease for its next heartbeat, as after an outage of the database.
    Until the first `turn` all time counts.
    """

    def __init__(self, clock: Clock, lease_ms: int) -> None:
        self._clock = clock
        self.beat_ms = lease_ms // BEATS_OF_A_LEASE
        """Interval of heartbeats; after a pause as long as this every worker has a full lease."""
        self.turn_ms = max(1, min(TURN_MAX_MS, lease_ms // TURNS_OF_A_LEASE))
        """Interval of the calls of `turn`."""
        self._good_until_ms: int | None = None
        self._still_ms = 0
        """Milliseconds that were not counted so far."""
        self._still_at_turn_ms = 0
        self.since_ms = NEVER
        """End of the last pause, by this clock."""
        self._began_ms = self.now_ms()

    def turn(self) -> int:
        """Note that the event loop runs; return the milliseconds of pause since the last call."""
        self.now_ms()
        self._good_until_ms = self._clock.monotonic_ms() + 2 * self.turn_ms
        before_ms, self._still_at_turn_ms = self._still_at_turn_ms, self._still_ms
        return self._still_ms - before_ms

    def now_ms(self) -> int:
        """Return the milliseconds counted, from an arbitrary start; they never go back."""
        now_ms = self._clock.monotonic_ms()
        if self._good_until_ms is not None and now_ms > self._good_until_ms:
            self._still_ms += now_ms - self._good_until_ms
            self._good_until_ms = now_ms
            if self._still_ms - self._still_at_turn_ms >= self.beat_ms:
                self.since_ms = now_ms - self._still_ms
        return now_ms - self._still_ms

    def unheard_ms(self) -> int:
        """Return the milliseconds until every worker can have sent a heartbeat since the start or the last pause."""
        return max(0, max(self._began_ms, self.since_ms) + self.beat_ms - self.now_ms())

    def interrupted(self) -> None:
        """Note the end of a pause that this clock does not see, such as one of the database."""
        self.since_ms = self.now_ms()


class UndeliveredLeases:
    """Detects leases that never arrived at their worker because the answer to a claim was lost.

    A lease that a heartbeat does not name has certainly not arrived if the worker had finished that claim when it sent
    the heartbeat. The claim began before the lease existed, and so before everything that the worker heard after that.
    Hence a heartbeat is awaited that was sent after the answer to another heartbeat, which was carried out while the lease
    existed. Claims in progress at the worker by then cannot have taken the lease if they wait here without a result; if
    there are no others in progress, the lease's claim is over.
    """

    def __init__(self) -> None:
        self._beat = secrets.randbits(32) << 20
        """Number of the last heartbeat, from a random start: numbers given by other servers or before a restart do not match."""
        self._first = self._beat
        self._latest = 0
        """The highest number of a claim so far."""
        self._waiting: set[int] = set()
        """Claims that wait here without a result."""
        self._unnamed: dict[Lease, tuple[int, int]] = {}
        """Lease → number and time of the first heartbeat since which no heartbeat has named it."""

    def began(self, number: int) -> None:
        """Note that a claim waits; a late or repeated claim is ignored, since another answer to it may be under way."""
        if number > self._latest:
            self._latest = number
            self._waiting.add(number)

    def ended(self, number: int) -> None:
        """Note that a claim waits no more; called before its leases are committed, also from the writer's thread."""
        self._waiting.discard(number)

    def never_arrived(
        self, unnamed: Collection[Lease], claiming: Collection[int] | None, heard: int, now_ms: int, lease_ms: int
    ) -> tuple[list[Lease], int]:
        """Process a heartbeat; return the leases that have certainly not arrived, and the heartbeat's number.

        `unnamed` are the worker's leases that the heartbeat does not name, `claiming` the numbers of its claims in
        progress, `heard` the last heartbeat whose answer it received. If `claiming` is None, an answer is assumed to be
        under way for at most `lease_ms`.
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


class HeartbeatAnswers:
    """Tracks whether a worker receives the answers to its heartbeats, from which it counts its leases."""

    def __init__(self, now_ms: int) -> None:
        self._heard = 0
        self._heard_ms = now_ms
        """Sending time of the last received answer; at first, the start of the session."""
        self._sent: deque[tuple[int, int]] = deque(maxlen=UNANSWERED_MAX)
        """Later answers as (number of the heartbeat, sending time)."""

    def sent(self, beat: int, now_ms: int) -> None:
        """Note the answer to a heartbeat."""
        self._sent.append((beat, now_ms))

    def missed(self, heard: int, since_ms: int, now_ms: int, lease_ms: int) -> bool:
        """Note the last received answer; return True if none was received for a whole lease, counted from `since_ms`.

        An answer must have been under way for a while: a worker that was silent and speaks again has missed none.
        """
        if heard != self._heard:
            self._heard = heard
            self._heard_ms = now_ms  # another server may have sent it just now
            while self._sent:
                beat, sent_ms = self._sent.popleft()
                if beat == heard:
                    self._heard_ms = sent_ms
                    break
        if not self._sent or self._sent[0][1] + lease_ms // BEATS_OF_A_LEASE > now_ms:
            return False
        if self._sent[-1][1] + lease_ms <= now_ms:  # none was sent lately: the server or its database was paused
            return False
        return max(self._heard_ms, since_ms) + lease_ms <= now_ms


class Session:
    """A worker whose heartbeats this server receives."""

    def __init__(self, worker_id: str, now_ms: int) -> None:
        self.worker_id = worker_id
        self.registration: Registration | None = None
        """None: not read from the store yet, or a holder of leases that has no row."""
        self.heard_ms = now_ms
        self.noted_ms: int | None = None
        """Time at which the last heartbeat was stored, by the monotonic clock."""
        self.kept_silent = False
        """Whether the worker was taken over from a paused server, has not been heard here, and may know no other server."""
        self.streams = 0
        self.broke_ms: int | None = None
        """Time at which the last signals stream broke."""
        self.draining = False
        self.blocked: BlockedLoop | None = None
        """The task that blocks the worker's event loop, by its last heartbeat."""
        self.over = False
        """Set while the worker loses its leases."""
        self.settled = asyncio.Event()
        """Clear while the loss of the leases is being written."""
        self.settled.set()
        self.claims = UndeliveredLeases()
        self.answers = HeartbeatAnswers(now_ms)
        self.waiting_claims: set[asyncio.Future[None]] = set()
        """Waiting claims, which end empty when the session is closed."""
        self.partial_claims: set[asyncio.Future[None]] = set()
        """Claims that wait although some executor is at capacity; ended when a run ends, which may free capacity."""
        self.messages: deque[StopSignal] = deque(maxlen=SIGNALS_MAX)
        self.wake = asyncio.Event()

    @contextmanager
    def waiting(self, *, partial: bool) -> Iterator[asyncio.Future[None]]:
        """Yield a future that ends a claim's wait when the session closes, or on `free_capacity` if an executor is full."""
        enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting_claims.add(enough)
        if partial:
            self.partial_claims.add(enough)
        try:
            yield enough
        finally:
            self.waiting_claims.discard(enough)
            self.partial_claims.discard(enough)

    def free_capacity(self) -> None:
        """End the partial claims: the worker claims again with its present capacity."""
        _end(self.partial_claims)

    def close(self) -> None:
        """End all waiting requests: the worker repeats them, and learns that its session is over."""
        self.wake.set()
        _end(self.waiting_claims)

    def expires_ms(self, lease_ms: int, disconnect_ms: int, since_ms: int) -> int:
        """Return the time at which the session expires without a further heartbeat; `since_ms` is the end of the last pause.

        A stream that breaks within a lease after a pause is ignored: its worker may have closed it without answers.
        """
        over = max(self.heard_ms, since_ms) + lease_ms
        if self.broke_ms is not None and self.streams == 0 and self.broke_ms >= since_ms + lease_ms:
            over = min(over, self.broke_ms + disconnect_ms)
        return over


def _end(claims: Iterable[asyncio.Future[None]]) -> None:
    for claim in claims:
        if not claim.done():
            claim.set_result(None)


class Sessions:
    """All workers whose heartbeats this server receives."""

    def __init__(self, clock: Clock, events: Dispatcher, *, lease_ms: int, disconnect_ms: int) -> None:
        self._events = events
        self.clock = LeaseClock(clock, lease_ms)
        self._lease_ms = lease_ms
        self._disconnect_ms = disconnect_ms
        self._sessions: dict[str, Session] = {}
        self.local: set[str] = set()
        """Workers inside this process."""
        self.draining = False
        """Set when the server drains: claims get nothing any more."""

    def get(self, worker_id: str) -> Session | None:
        """Return the open session of a worker, or None."""
        return self._sessions.get(worker_id)

    def open(self, worker_id: str) -> Session:
        """Return the session of a worker, opened if it is not open."""
        session = self._sessions.get(worker_id)
        if session is None:
            session = self._sessions[worker_id] = Session(worker_id, self.clock.now_ms())
            self._events.publish(SessionsChanged())
        return session

    def admit(self, worker: Worker) -> Session:
        """Return the session of a registered worker, opened if it is not open."""
        session = self.open(worker.id)
        session.registration = Registration.of(worker)
        session.draining = session.draining or worker.state == "draining"
        return session

    def may_claim(self, session: Session) -> bool:
        """Return whether claims of the session get runs: neither worker nor server drains, and the session is not over."""
        return not (session.draining or session.over or self.draining)

    def is_blocked(self, worker_id: str) -> bool:
        """Return whether a task blocks the worker's event loop; False if another server receives its heartbeats."""
        session = self._sessions.get(worker_id)
        return session is not None and session.blocked is not None

    def heard(self, session: Session) -> None:
        """Note a heartbeat or another request of the worker."""
        session.heard_ms = self.clock.now_ms()
        session.kept_silent = False

    def connected(self, session: Session) -> None:
        """Note that a signals stream was opened."""
        session.streams += 1
        session.broke_ms = None
        self.heard(session)

    def renew(self) -> None:
        """Give every worker a full lease for its next heartbeat, after an outage of the database."""
        self.clock.interrupted()

    def silent_ms(self, session: Session) -> int:
        """Return the milliseconds since the worker was heard, without the server's pauses."""
        return self.clock.now_ms() - session.heard_ms

    def disconnected(self, session: Session) -> None:
        """Note that a signals stream has broken."""
        session.streams -= 1
        if session.streams == 0:
            session.broke_ms = self.clock.now_ms()
            self._events.publish(SessionsChanged())

    def stop(self, asked: StopRequested) -> None:
        """Add the end of a run to the messages for its worker."""
        session = self._sessions.get(asked.worker_id)
        if session is not None:
            message = StopSignal(run_id=asked.run_id, epoch=asked.epoch, grace_ms=asked.grace_ms, reason=asked.reason)
            session.messages.append(message)
            session.wake.set()

    @property
    def remote(self) -> int:
        """Number of connected workers outside this process."""
        return sum(1 for s in self._sessions.values() if s.streams and s.worker_id not in self.local)

    @property
    def workers(self) -> int:
        """Number of workers, without the server's own executors."""
        return sum(1 for worker_id in list(self._sessions) if worker_id not in self.local)

    def drain(self, worker_id: str) -> None:
        """Tell a worker to claim nothing more and to end when its runs have ended."""
        session = self._sessions.get(worker_id)
        if session is not None:
            session.draining = True
            session.wake.set()

    def heard_lately(self) -> list[str]:
        """Return the ids of workers heard within a lease and since the last pause; others may have another server."""
        after_ms = max(self.clock.now_ms() - self._lease_ms, self.clock.since_ms)
        return [s.worker_id for s in self._sessions.values() if s.heard_ms > after_ms]

    def lapsed(self) -> list[Session]:
        """Return the expired sessions."""
        now_ms = self.clock.now_ms()
        return [s for s in self._sessions.values() if self._expires_ms(s) <= now_ms]

    def next_expiry_in_ms(self) -> int | None:
        """Return the milliseconds until the next session expires; None without sessions."""
        now_ms = self.clock.now_ms()
        return min((self._expires_ms(s) - now_ms for s in self._sessions.values()), default=None)

    def _expires_ms(self, session: Session) -> int:
        return session.expires_ms(self._lease_ms, self._disconnect_ms, self.clock.since_ms)

    def misses_answers(self, session: Session, heard: int) -> bool:
        """Tell whether the worker received no answer for a lease; `heard` is the last heartbeat with an answer."""
        return session.answers.missed(heard, self.clock.since_ms, session.heard_ms, self._lease_ms)

    def answers(self, session: Session, beat: int) -> None:
        """Note the answer to a heartbeat."""
        session.answers.sent(beat, self.clock.now_ms())

    def close(self, session: Session) -> None:
        """Remove a session and end its waiting requests."""
        if self._sessions.get(session.worker_id) is session:
            del self._sessions[session.worker_id]
        session.close()

    def __len__(self) -> int:
        """Return the number of open sessions."""
        return len(self._sessions)
