"""What a stream of events says, and where it has to be resumed: pure, the same for both clients.

A `Follower` outlives its connections. It is fed the server-sent events of each, hands out what is new, and knows what
the next connection has to ask for.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.client.errors import UnexpectedAnswer
from headway.client.sse import SseEvent
from headway.wire.runs import EventOut, RunOut

SILENCE_S: Final = 60.0
"""The server sends a comment every 15 s; after four of them are missing, the connection is taken for dead."""
PATIENCE_S: Final = 300.0
"""A wait or a stream without a timeout gives up after the server has not been reachable for so long."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened.

    `type` is run.state, run.log, run.result, run.step, run.step_failed, run.signal, run.changed or run.progress; snapshot:
    the run as it was when the stream was opened or resumed, in `run`; gap: events `data["from"]` to `data["to"]` are not kept any more.
    """

    type: str
    seq: int = 0
    """Its place in the history of its run: 1, 2, 3 … A snapshot's: the last event that it includes."""
    time: str = ""
    run_id: str = ""
    data: Any = None
    run: RunOut | None = None
    position: int | None = None
    """Its place in the feed of all runs, when it came from there."""


class _Snapshot(msgspec.Struct):
    run: RunOut
    seq: int = 0


_ENVELOPE: Final = msgspec.json.Decoder(EventOut)
_SNAPSHOT: Final = msgspec.json.Decoder(_Snapshot)


class Follower:
    """Where a stream is, over all its connections."""

    def __init__(self, after: int | None = None, *, feed: bool = False) -> None:
        """Start after the event of that number; None leaves the start to the server. `feed`: numbers are positions."""
        self.start = after
        self.after = after
        self.ended = False
        """Nothing will ever come after this."""
        self.leave = False
        """The server asks for another connection."""
        self._feed = feed

    def headers(self) -> dict[str, str]:
        """Return what the next connection has to say."""
        self.leave = False
        return {} if self.after == self.start else {"Last-Event-ID": str(self.after)}

    def take(self, event: SseEvent) -> Event | None:
        """Return what the user should see of the event, if anything."""
        try:
            return self._take(event)
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer(f"the event {event.event[:40]!r} cannot be read: {error}") from error

    def _take(self, event: SseEvent) -> Event | None:
        if event.event == "snapshot":
            shown = _SNAPSHOT.decode(event.data)
            return Event(type="snapshot", seq=shown.seq, time=shown.run.updated_at, run_id=shown.run.id, run=shown.run)
        if event.event == "end":
            self.ended = True
            return None
        if event.event == "reconnect":
            self.leave = True
            return None
        if event.event == "gap":
            missed = msgspec.json.decode(event.data)
            self.after = max(self.after or 0, int(missed.get("to") or 0))
            return Event(type="gap", seq=self.after, data=missed)
        return self._take_line(event)

    def _take_line(self, event: SseEvent) -> Event | None:
        number = int(event.id) if event.id and event.id.isdigit() else None
        if number is not None:
            if self.after is not None and number <= self.after:
                return None  # the server sends what came after the last id; this guards against one that repeats
            self.after = number
        if not event.event.startswith("run."):
            return None  # of a later version
        return of_line(_ENVELOPE.decode(event.data), position=number if self._feed else None)


def of_line(line: EventOut, *, position: int | None = None) -> Event:
    """Return a line of history as an event; `position` is its place in the feed of all runs."""
    return Event(
        type=line.type,
        seq=line.seq,
        time=line.time,
        run_id=line.run_id,
        data=msgspec.json.decode(line.data),
        position=position,
    )
