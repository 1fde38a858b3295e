"""Messages between servers that share a database: after a commit, the places to look at, never the data.

A message may be lost or come twice, and its receiver reads the database. A run is named by a mark, the last six digits of its
id: now and then a watcher is woken for nothing, and thousands of runs fit into a few messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from headway.notify.events import CommitEvent, Timer

BYTES_MAX: Final = 7_900
"""The largest message; PostgreSQL takes less than 8,000 bytes."""
MARK: Final = 6
"""Digits of a mark."""


class _Changes(msgspec.Struct, frozen=True):
    """The part of a message that every server understands. Its other members are relayed events, by their names."""

    sender: str
    marks: str = ""
    lanes: tuple[tuple[str, str], ...] = ()
    catalog: bool = False


class Message(msgspec.Struct, frozen=True):
    """Changes of a commit, or a part of them."""

    sender: str
    """Id of the server that committed."""
    marks: str
    """Marks of runs, one after the other."""
    lanes: tuple[tuple[str, str], ...]
    """(queue, task) in which runs may be claimable now."""
    catalog: bool
    """Whether tasks, queues or organisations changed."""
    events: tuple[CommitEvent, ...]
    """Relayed after-commit events."""


_encode: Final = msgspec.json.Encoder().encode
_changes: Final = msgspec.json.Decoder(_Changes)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def mark_of(topic: str) -> str:
    """Return the mark of a run's id."""
    return topic[-MARK:]


def marks_in(message: Message) -> Iterator[str]:
    """Return the marks of a message, one by one."""
    return (message.marks[at : at + MARK] for at in range(0, len(message.marks), MARK))


def messages(
    sender: str,
    run_ids: Iterable[str],
    lanes: Iterable[tuple[str, str]],
    events: Iterable[CommitEvent],
    *,
    catalog: bool = False,
) -> list[str]:
    """Return the texts that tell of a commit; none is larger than BYTES_MAX. Events without a `relay` are left out."""
    parts: list[dict[str, Any]] = [{}]
    room = BYTES_MAX - 200
    left = room
    if catalog:
        parts[-1]["catalog"] = True
    items: list[tuple[str, Any]] = [("lanes", lane) for lane in lanes]
    for event in events:
        if isinstance(event, Timer) and event.relay:
            parts[-1][event.relay] = event.at_ms
        elif event.relay and not event.__struct_fields__:
            parts[-1][event.relay] = True
        elif event.relay:
            items.append((event.relay, event))
    for name, item in items:
        size = len(_encode(item)) + 1
        if size > left:
            parts.append({})
            left = room
        left -= size
        parts[-1].setdefault(name, []).append(item)
    marks = "".join(map(mark_of, run_ids))
    while marks:
        most = left // MARK * MARK
        if not most:
            parts.append({})
            left = room
            continue
        parts[-1]["marks"], marks = marks[:most], marks[most:]
        left -= len(parts[-1]["marks"])
    return [_encode({"sender": sender} | part).decode() for part in parts if part]


def read(text: str, relayed: Mapping[str, type[CommitEvent]]) -> Message | None:
    """Return the message; None for a text that is none, since any user of the database can send one.

    `relayed` has the types of events by their names; members of other names are ignored.
    """
    try:
        changes = _changes.decode(text)
        members = _members.decode(text)
        events = [event for name, kind in relayed.items() if name in members for event in _events(kind, members[name])]
    except msgspec.DecodeError:
        return None
    return Message(changes.sender, changes.marks, changes.lanes, changes.catalog, tuple(events))


def _events(kind: type[CommitEvent], member: msgspec.Raw) -> Iterable[CommitEvent]:
    if issubclass(kind, Timer):
        return [kind(msgspec.json.decode(member, type=int))]
    if not kind.__struct_fields__:
        return [kind()] if msgspec.json.decode(member, type=bool) else []
    return msgspec.json.decode(member, type=list[kind])  # type: ignore[valid-type]
