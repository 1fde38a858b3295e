"""Server-sent events, read exactly as the WHATWG HTML standard has it: bytes in, events out, no I/O.

A parser is fed whatever the network hands over. Lines end in CR, LF or CRLF, also when the pair is split over two
chunks; an event ends at an empty line, and what comes after the last empty line is not an event.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from headway.client.errors import UnexpectedAnswer

EVENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Maximum size of one event, in bytes."""

_BOM: Final = b"\xef\xbb\xbf"
_ASCII_DIGITS: Final = frozenset("0123456789")


class EventTooLarge(UnexpectedAnswer):
    """An event of the stream exceeds the maximum size."""


class SseEvent(NamedTuple):
    """One event as it arrived; `id` and `retry` are those of this event, or None."""

    event: str
    data: str
    id: str | None
    retry: int | None


class SseParser:
    """The state between two chunks: an unfinished line, and the fields of an unfinished event."""

    def __init__(self, last_event_id: str = "") -> None:
        """`last_event_id` is the id after which the stream is resumed."""
        self.last_event_id = last_event_id
        """Id that a reconnect sends as `Last-Event-ID`; an event without an id leaves it unchanged."""
        self.retry_ms: int | None = None
        """Pause before a reconnect that the server asked for, in milliseconds."""
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        self._id_to_be = last_event_id
        self._event_bytes = 0
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that the next bytes complete; raise EventTooLarge for one above the maximum size."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF whose first half has ended the line
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *ends, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events = []
        for end in ends:
            self._line += end
            event = self._take_line()
            if event is not None:
                events.append(event)
        self._line += rest
        if self._event_bytes + len(self._line) > EVENT_BYTES_MAX:
            raise EventTooLarge(f"an event of more than {EVENT_BYTES_MAX} bytes")
        return events

    def _take_line(self) -> SseEvent | None:
        if self._at_start:
            self._at_start = False
            if self._line.startswith(_BOM):
                del self._line[:3]
        line = self._line.decode("utf-8", "replace")
        self._event_bytes += len(self._line)
        self._line.clear()
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        self._take_field(name, value.removeprefix(" "))  # a comment is a line whose name is empty
        return None

    def _take_field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = self._id_to_be = value
        elif name == "retry" and value and _ASCII_DIGITS.issuperset(value) and len(value) <= 15:  # noqa: PLR2004
            self._retry = self.retry_ms = int(value)

    def _dispatch(self) -> SseEvent | None:
        # The standard: the id counts even when there is no data and so no event.
        self.last_event_id = self._id_to_be
        event = None
        if self._data:
            event = SseEvent(self._event or "message", "\n".join(self._data), self._id, self._retry)
        self._reset_event()
        return event

    def _reset_event(self) -> None:
        self._event = ""
        self._data = []
        self._id = None
        self._retry = None
        self._event_bytes = 0
