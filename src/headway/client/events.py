"""Events of a stream, and the position at which the stream resumes: pure, the same for both clients.

A `Follower` lives across connections: it takes the server-sent events of each, returns the new ones, and gives the
headers of the next connection.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.client.errors import UnexpectedAnswer
from headway.client.sse import SseEvent
from headway.protocol.runs import EventOut, RunOut

SILENCE_S: Final = 60.0
"""Longest silence of a stream, in seconds; the server sends a comment every 15 s, so four are missing by then."""
PATIENCE_S: Final = 300.0
"""Time without a reachable server, in seconds, after which a wait or a stream without a timeout fails."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of a run.

    `type` is run.state, run.log, run.result, run.step, run.step_failed, run.signal, run.changed or run.progress; or
    "snapshot": the run at the start or resumption of the stream, in `run`; or "gap": events `data["from"]` to
    `data["to"]` are no longer stored.
    """

    type: str
    seq: int = 0
    """Number in the history of its run: 1, 2, 3 … Of a snapshot: the last event that it includes."""
    time: str = ""
    run_id: str = ""
    data: Any = None
    run: RunOut | None = None
    position: int | None = None
    """Position in the feed of all runs, for events of that feed."""


class _Snapshot(msgspec.Struct):
    run: RunOut
    seq: int = 0


_ENVELOPE: Final = msgspec.json.Decoder(EventOut)
_SNAPSHOT: Final = msgspec.json.Decoder(_Snapshot)


class Follower:
    """Position of a stream across its connections."""

    def __init__(self, after: int | None = None, *, feed: bool = False) -> None:
        """Start after event number `after` (None: the server decides). `feed`: numbers are positions in the feed."""
        self.start = after
        self.after = after
        self.ended = False
        """Whether the stream is complete."""
        self.leave = False
        """Whether the server asked the client to reconnect."""
        self._feed = feed

    def headers(self) -> dict[str, str]:
        """Return the headers of the next connection."""
        self.leave = False
        return {} if self.after == self.start else {"Last-Event-ID": str(self.after)}

    def take(self, event: SseEvent) -> Event | None:
        """Return the event for the user, or None if there is none; raise `unexpected_answer` for unreadable data."""
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
                return None  # guards against a server that repeats events
            self.after = number
        if not event.event.startswith("run."):
            return None  # of a later version
        return of_line(_ENVELOPE.decode(event.data), position=number if self._feed else None)


def of_line(line: EventOut, *, position: int | None = None) -> Event:
    """Return a line of history as an event; `position` is its position in the feed of all runs."""
    return Event(
        type=line.type,
        seq=line.seq,
        time=line.time,
        run_id=line.run_id,
        data=msgspec.json.decode(line.data),
        position=position,
    )
