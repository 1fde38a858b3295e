"""The move itself: copies every table in parts, reads both ends again, and only then lets the new place be served.

It may be stopped or killed at any point; started again with the same two ends it goes on after the last part that is
there. The file stays as it is.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from headway.clock import Clock
from headway.store.database import StorageBroken, bytes_of
from headway.store.location import shown
from headway.store.transfer.schema import Table, tables
from headway.store.transfer.source import Row, Source
from headway.store.transfer.target import FACTS_STAY, SILENT_S, CompletedMove, Cursor, Target

ROWS_AT_ONCE: Final = 10_000
BYTES_AT_ONCE: Final = 16 * 1024 * 1024
"""A part ends at so many rows or so much text: it is in memory, and what a kill costs."""

_encode: Final = msgspec.json.Encoder().encode


class Unequal(StorageBroken):
    """The data read at both ends differs, so the new store must not be used."""


class Step(msgspec.Struct, frozen=True):
    """Progress of a move."""

    phase: str
    """`copy` or `verify`."""
    table: str
    done: int
    total: int
    """Rows, over all tables."""


class TableCopy(msgspec.Struct, frozen=True):
    """Moved rows of a table."""

    table: str
    rows: int
    sha256: str
    """Digest of the rows as JSON arrays, a line each, in the order of the key; the same at both ends."""


class Report(msgspec.Struct, frozen=True):
    """A move that came to its end."""

    source: str
    target: str
    rows: int
    tables: list[TableCopy]
    resumed: bool
    """Whether the move continued an earlier one."""
    already: bool
    """Whether an earlier move was complete, so that nothing was done now."""
    duration_ms: int


def move(
    path: Path,
    url: str,
    clock: Clock,
    tell: Callable[[Step], None] = lambda step: None,
    *,
    accept_loss: bool = False,
    rows_at_once: int = ROWS_AT_ONCE,
    silent_s: float = SILENT_S,
) -> Report:
    """Move the store of a file into an empty database, or go on with that.

    Raises StoreRefused (with what to do) before anything is changed, DatabaseGone if the database cannot be reached any
    more, and Unequal or StorageBroken if what arrived is not what was sent. A server of which nothing was heard for
    `silent_s` is taken for gone.
    """
    source = Source(path, FACTS_STAY)
    try:
        target = Target(url, clock, accept_loss=accept_loss, silent_s=silent_s)
        try:
            return _Move(source, target, clock, tell, rows_at_once).carry_out(shown(url))
        finally:
            target.close()
    finally:
        source.close()


class _Move:
    def __init__(
        self, source: Source, target: Target, clock: Clock, tell: Callable[[Step], None], rows_at_once: int
    ) -> None:
        self._source, self._target, self._clock, self._tell = source, target, clock, tell
        self._rows_at_once = rows_at_once
        self._total = sum(source.count(table) for table in tables())

    def carry_out(self, shown_url: str) -> Report:
        began_ms = self._clock.monotonic_ms()
        mark = self._source.mark()
        arrived, resumed = self._target.arrived(mark), False
        already = arrived is not None
        if arrived is None:
            cursor = self._target.begin(mark, str(self._source.path), self._source.secret)
            resumed = bool(cursor.rows)
            self._copy(cursor)
            arrived = CompletedMove(mark, cursor.source, self._clock.now_ms(), dict(self._compared()))
            self._target.finish(arrived)
        moved = [TableCopy(name, rows, digest) for name, (rows, digest) in arrived.tables.items()]
        took_ms = self._clock.monotonic_ms() - began_ms
        rows = sum(table.rows for table in moved)
        return Report(arrived.source, shown_url, rows, moved, resumed, already, took_ms)

    def _copy(self, cursor: Cursor) -> None:
        for table in tables():
            if table.name in cursor.rows and table.name not in cursor.after:
                continue
            rows = self._source.rows(table, cursor.after.get(table.name, []))
            for part, last in _parts(rows, self._rows_at_once):
                cursor.rows[table.name] = cursor.rows.get(table.name, 0) + len(part)
                if last:
                    cursor.after.pop(table.name, None)
                else:
                    cursor.after[table.name] = table.after(part[-1])
                self._target.add(table, part, cursor)
                self._tell(Step("copy", table.name, sum(cursor.rows.values()), self._total))

    def _compared(self) -> Iterator[tuple[str, tuple[int, str]]]:
        """Read both ends side by side; yield each table with its rows and their checksum."""
        before = 0
        for table in tables():
            digest, count = hashlib.sha256(), 0
            for sent, came in itertools.zip_longest(self._source.rows(table, []), self._target.rows(table)):
                if sent != came:
                    raise Unequal(_unlike(table, sent, came))
                digest.update(_encode(sent) + b"\n")
                count += 1
                if count % self._rows_at_once == 0:
                    self._tell(Step("verify", table.name, before + count, self._total))
            before += count
            self._tell(Step("verify", table.name, before, self._total))
            yield table.name, (count, digest.hexdigest())


def _parts(rows: Iterable[Row], most: int) -> Iterator[tuple[list[Row], bool]]:
    """Yield parts of the rows and whether each is the last; there is always one, be it empty."""
    part: list[Row] = []
    size = 0
    for row in rows:
        if len(part) >= most or size >= BYTES_AT_ONCE:
            yield part, False
            part, size = [], 0
        part.append(row)
        size += bytes_of(row)
    yield part, True


def _unlike(table: Table, sent: Any, came: Any) -> str:
    """Name the first row that is not the same at both ends."""
    place = _encode(table.after(sent or came)).decode()
    both = sent and came and table.after(sent) == table.after(came)
    how = "is not the same at both ends" if both else "is at one end only"
    return (
        f"the row {place} of {table.name} {how}: something else has written to one of them; "
        f"drop the database and begin again with an empty one"
    )
