"""Who is alive: a worker's session, which its leases live and die with.

A lease is good as long as its worker is heard from: by heartbeats, and by the signals stream that it keeps open. Both
are timed by the time in which this server could hear (see `listening`). A server that restarts gives every worker it
finds in the store a full lease to be heard from again.

A worker trusts its leases for as long after a heartbeat whose answer it has heard. So each heartbeat says which answer
was the last: one whose answers have not arrived for a whole lease has given its leases up, and the server does too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from headway.clock import Clock
from headway.notify.events import Dispatcher, SessionsChanged, StopRequested
from headway.protocol.workers import BlockedLoop, StopSignal
from headway.runs.listening import BEATS_OF_A_LEASE, Listening

SIGNALS_MAX = 10_000
"""Messages that wait for a worker; older ones are dropped, because heartbeats repeat what matters."""
UNANSWERED_MAX = 100
"""Most unacknowledged answers to heartbeats that are remembered; a worker sends one heartbeat after the other."""


Lease = tuple[str, int]
"""A run and the epoch of its lease."""


class UndeliveredLeases:
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


class HeartbeatAnswers:
    """Tracks whether a worker receives the answers to its heartbeats, from which it counts its leases."""

    def __init__(self, now_ms: int) -> None:
        self._heard = 0
        self._heard_ms = now_ms
        """When the last received answer was sent; at first, the start of the session."""
        self._sent: deque[tuple[int, int]] = deque(maxlen=UNANSWERED_MAX)
        """Later answers as (number of the heartbeat, when it was answered)."""

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
    """One worker, as this server hears it."""

    def __init__(self, worker_id: str, now_ms: int) -> None:
        self.worker_id = worker_id
        self.heard_ms = now_ms
        self.noted_ms: int | None = None
        """When its sign of life was last stored, by the monotonic clock."""
        self.kept_silent = False
        """Whether it was taken over from a paused server, was not heard here yet, and may know no other server."""
        self.streams = 0
        self.broke_ms: int | None = None
        """When its last signals stream broke."""
        self.draining = False
        self.blocked: BlockedLoop | None = None
        """The task that blocks its event loop, by its last heartbeat."""
        self.over = False
        """Set when its leases are being taken away."""
        self.settled = asyncio.Event()
        """Clear while the loss of its leases is being written."""
        self.settled.set()
        self.claims = UndeliveredLeases()
        self.answers = HeartbeatAnswers(now_ms)
        self.waiting_claims: set[asyncio.Future[None]] = set()
        """Waiting claims, which end empty when the session is closed."""
        self.partial_claims: set[asyncio.Future[None]] = set()
        """Claims that wait although some executor has no room; done when a run ends, since there may be room then."""
        self.messages: deque[StopSignal] = deque(maxlen=SIGNALS_MAX)
        self.wake = asyncio.Event()

    @contextmanager
    def waiting(self, *, partial: bool) -> Iterator[asyncio.Future[None]]:
        """Yield a future that ends a claim's wait when the session closes, or on `make_room` if an executor is full."""
        enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting_claims.add(enough)
        if partial:
            self.partial_claims.add(enough)
        try:
            yield enough
        finally:
            self.waiting_claims.discard(enough)
            self.partial_claims.discard(enough)

    def make_room(self) -> None:
        """End the cramped claims: the worker asks again with the room that it has now."""
        _end(self.partial_claims)

    def close(self) -> None:
        """End all waiting requests: the worker repeats them, and learns that its session is over."""
        self.wake.set()
        _end(self.waiting_claims)

    def expires_ms(self, lease_ms: int, disconnect_ms: int, since_ms: int) -> int:
        """Return when the session expires if nothing more is heard; `since_ms` is the end of the server's last pause.

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
    """All workers that this server hears."""

    def __init__(self, clock: Clock, events: Dispatcher, *, lease_ms: int, disconnect_ms: int) -> None:
        self._events = events
        self.listening = Listening(clock, lease_ms)
        self._lease_ms = lease_ms
        self._disconnect_ms = disconnect_ms
        self._sessions: dict[str, Session] = {}
        self.local: set[str] = set()
        """Workers inside this process."""

    def get(self, worker_id: str) -> Session | None:
        """Return the session, if it is open."""
        return self._sessions.get(worker_id)

    def open(self, worker_id: str) -> Session:
        """Open the session, or find it open."""
        session = self._sessions.get(worker_id)
        if session is None:
            session = self._sessions[worker_id] = Session(worker_id, self.listening.now_ms())
            self._events.publish(SessionsChanged())
        return session

    def heard(self, session: Session) -> None:
        """Note a sign of life."""
        session.heard_ms = self.listening.now_ms()
        session.kept_silent = False

    def connected(self, session: Session) -> None:
        """Note that its signals stream is open."""
        session.streams += 1
        session.broke_ms = None
        self.heard(session)

    def excuse(self) -> None:
        """Give everyone a full lease to be heard from: without a database nobody could report or open a stream."""
        self.listening.interrupted()

    def silent_ms(self, session: Session) -> int:
        """Return the milliseconds since the worker was heard, without the server's pauses."""
        return self.listening.now_ms() - session.heard_ms

    def disconnected(self, session: Session) -> None:
        """Note that a signals stream of it has broken."""
        session.streams -= 1
        if session.streams == 0:
            session.broke_ms = self.listening.now_ms()
            self._events.publish(SessionsChanged())

    def stop(self, asked: StopRequested) -> None:
        """Put a request to end a run where the worker's signals stream finds it."""
        session = self._sessions.get(asked.worker_id)
        if session is not None:
            message = StopSignal(run_id=asked.run_id, epoch=asked.epoch, grace_ms=asked.grace_ms, reason=asked.reason)
            session.messages.append(message)
            session.wake.set()

    @property
    def remote(self) -> int:
        """How many workers outside this process are connected."""
        return sum(1 for s in self._sessions.values() if s.streams and s.worker_id not in self.local)

    @property
    def workers(self) -> int:
        """Number of workers that are heard from, without the server's own executors."""
        return sum(1 for worker_id in list(self._sessions) if worker_id not in self.local)

    def drain(self, worker_id: str) -> None:
        """Tell a worker to finish what it has and go."""
        session = self._sessions.get(worker_id)
        if session is not None:
            session.draining = True
            session.wake.set()

    def heard_lately(self) -> list[str]:
        """Return the workers heard within a lease and since the last pause; others may have gone to another server."""
        after_ms = max(self.listening.now_ms() - self._lease_ms, self.listening.since_ms)
        return [s.worker_id for s in self._sessions.values() if s.heard_ms > after_ms]

    def lapsed(self) -> list[Session]:
        """Return the sessions that are over."""
        now_ms = self.listening.now_ms()
        return [s for s in self._sessions.values() if self._expires_ms(s) <= now_ms]

    def next_expiry_in_ms(self) -> int | None:
        """Return the milliseconds until the next session expires."""
        now_ms = self.listening.now_ms()
        return min((self._expires_ms(s) - now_ms for s in self._sessions.values()), default=None)

    def _expires_ms(self, session: Session) -> int:
        return session.expires_ms(self._lease_ms, self._disconnect_ms, self.listening.since_ms)

    def misses_answers(self, session: Session, heard: int) -> bool:
        """Tell whether the worker received no answer for a lease; `heard` is the last heartbeat with an answer."""
        return session.answers.missed(heard, self.listening.since_ms, session.heard_ms, self._lease_ms)

    def answers(self, session: Session, beat: int) -> None:
        """Note that a heartbeat is answered."""
        session.answers.sent(beat, self.listening.now_ms())

    def close(self, session: Session) -> None:
        """Forget a session; whoever waits on it finds it gone."""
        if self._sessions.get(session.worker_id) is session:
            del self._sessions[session.worker_id]
        session.close()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._sessions)
