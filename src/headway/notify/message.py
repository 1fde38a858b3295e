"""What servers that share a database tell each other after a commit: where to look, never what there is.

A message may be lost or come twice, and whoever gets it reads the database. So a run is told by a mark, the last six
digits of its id: now and then somebody is woken for nothing, and thousands of runs fit into a few messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

BYTES_MAX: Final = 7_900
"""The largest message; PostgreSQL takes less than 8,000 bytes."""
MARK: Final = 6
"""Digits of a mark."""


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """A worker is to end a run; the server that hears it passes that on."""

    worker_id: str
    run_id: str
    epoch: int
    grace_ms: int
    reason: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something of what a commit has changed."""

    sender: str
    """The server that has committed."""
    marks: str = ""
    """Of runs, one after the other."""
    lanes: tuple[tuple[str, str], ...] = ()
    """(queue, task) in which runs may be claimable now."""
    stops: tuple[Stop, ...] = ()
    catalog: bool = False
    """Whether tasks, queues or organisations have changed."""
    slot_at: int | None = None
    """When a schedule that was made or changed has its next slot."""


_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Message)


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
    stops: Iterable[Stop],
    *,
    catalog: bool = False,
    slot_at: int | None = None,
) -> list[str]:
    """Return the texts that tell of a commit; none is larger than BYTES_MAX."""
    told: list[dict[str, Any]] = [{}]
    room = BYTES_MAX - 200
    left = room
    if catalog:
        told[-1]["catalog"] = True
    if slot_at is not None:
        told[-1]["slot_at"] = slot_at
    for name, items in (("lanes", lanes), ("stops", stops)):
        for item in items:
            size = len(_encode(item)) + 1
            if size > left:
                told.append({})
                left = room
            left -= size
            told[-1].setdefault(name, []).append(item)
    marks = "".join(map(mark_of, run_ids))
    while marks:
        most = left // MARK * MARK
        if not most:
            told.append({})
            left = room
            continue
        told[-1]["marks"], marks = marks[:most], marks[most:]
        left -= len(told[-1]["marks"])
    return [_encode(Message(sender=sender, **one)).decode() for one in told if one]


def read(text: str) -> Message | None:
    """Return the message, or None for what is none: anybody who may use the database can send anything."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return None
